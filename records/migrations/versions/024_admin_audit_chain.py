"""The audit's rows in chains, one for each gateway, and more of who and where.

Revision ID: 024_admin_audit_chain
Revises: 023_policy_history
"""

import sqlalchemy as sa
from alembic import op

revision = "024_admin_audit_chain"
down_revision = "023_policy_history"

TEXTS = (("role", 64), ("credential_id", 128), ("route", 64))


def upgrade() -> None:
    for name, length in TEXTS:
        op.add_column("admin_audit_logs", sa.Column(name, sa.String(length), nullable=False, server_default=""))
    op.add_column("admin_audit_logs", sa.Column("position", sa.BigInteger(), nullable=True))
    op.create_index("ix_admin_audit_logs_gateway_position", "admin_audit_logs", ["gateway", "position"], unique=True)
    op.create_table(
        "audit_chains",
        sa.Column("gateway", sa.String(64), primary_key=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("row_hash", sa.String(64), nullable=False),
        sa.Column("first_position", sa.BigInteger(), nullable=False),
        sa.Column("first_prev_hash", sa.String(64), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("audit_chains")
    op.drop_index("ix_admin_audit_logs_gateway_position", "admin_audit_logs")
    op.drop_column("admin_audit_logs", "position")
    for name, _ in reversed(TEXTS):
        op.drop_column("admin_audit_logs", name)
