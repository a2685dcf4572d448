"""Usage and requests of single keys; requests of a caller or tenant with what they are filtered by in the index.

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
    op.create_index("ix_access_log_caller_id_status_gateway", "access_log", ["caller", "id", "status", "gateway"])
    op.create_index("ix_access_log_tenant_id", "access_log", ["tenant", "id"])
    op.drop_index("ix_access_log_caller_id", "access_log")
    op.drop_index("ix_access_log_tenant_at", "access_log")


def downgrade() -> None:
    op.create_index("ix_access_log_tenant_at", "access_log", ["tenant", "at"])
    op.create_index("ix_access_log_caller_id", "access_log", ["caller", "id"])
    op.drop_index("ix_access_log_tenant_id", "access_log")
    op.drop_index("ix_access_log_caller_id_status_gateway", "access_log")
    op.drop_index("ix_access_log_caller_credential_id", "access_log")
    for table in ("usage", "access_log"):
        op.drop_column(table, "credential")
