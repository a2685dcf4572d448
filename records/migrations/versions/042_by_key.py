"""Usage and requests of single keys.

Revision ID: 042_by_key
Revises: 041_spans
"""

import sqlalchemy as sa
from alembic import op

revision = "042_by_key"
down_revision = "041_spans"


def upgrade() -> None:
    for table in ("usage", "access_log"):
        op.add_column(table, sa.Column("credential", sa.String(64), nullable=False, server_default=""))
    op.create_index("ix_access_log_caller_credential_id", "access_log", ["caller", "credential", "id"])


def downgrade() -> None:
    op.drop_index("ix_access_log_caller_credential_id", "access_log")
    for table in ("usage", "access_log"):
        op.drop_column(table, "credential")
