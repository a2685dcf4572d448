"""The audit of administration (R36).

Revision ID: 020_admin_audit_logs
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "020_admin_audit_logs"
down_revision: str | None = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "admin_audit_logs",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("gateway", sa.String(64), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("method", sa.String(32), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("outcome", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(128), nullable=False),
        sa.Column("principal", sa.String(256), nullable=False),
        sa.Column("ip", sa.String(64), nullable=False),
        sa.Column("user_agent", sa.String(512), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("policy_version", sa.String(64), nullable=False),
        sa.Column("prev_hash", sa.String(64), nullable=True),
        sa.Column("row_hash", sa.String(64), nullable=True),
        sa.UniqueConstraint("event_id", name="uq_admin_audit_logs_event_id"),
    )
    for columns in (["timestamp"], ["gateway", "timestamp"], ["principal", "timestamp"], ["request_id"]):
        op.create_index(f"ix_admin_audit_logs_{'_'.join(columns)}", "admin_audit_logs", columns)


def downgrade() -> None:
    op.drop_table("admin_audit_logs")
