"""What alembic runs for every command: on the connection, and in the transaction, that it is given."""

from alembic import context
from sqlalchemy import Connection

from records.tables import Table

connection = context.config.attributes["connection"]
assert isinstance(connection, Connection)
context.configure(connection=connection, target_metadata=Table.metadata)
with context.begin_transaction():
    context.run_migrations()
