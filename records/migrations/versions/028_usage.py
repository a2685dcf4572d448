"""What Envoys told of requests: the log of them, and usage that adds up.

Revision ID: 028_usage
Revises: 027_change_claims
"""

import sqlalchemy as sa
from alembic import op

revision = "028_usage"
down_revision = "027_change_claims"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("grain", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("gateway", sa.String(128), nullable=False),
        sa.Column("route", sa.String(128), nullable=False),
        sa.Column("caller", sa.String(128), nullable=False),
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("tier", sa.String(32), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("octets_in", sa.BigInteger(), nullable=False),
        sa.Column("octets_out", sa.BigInteger(), nullable=False),
        sa.Column("duration", sa.Double(), nullable=False),
        sa.Column("histogram", sa.Text(), nullable=False),
    )
    op.create_index("ix_usage_scope_start", "usage", ["scope", "start"])
    op.create_index("ix_usage_tenant_start", "usage", ["tenant", "start"])
    op.create_index("ix_usage_grain_start", "usage", ["grain", "start"])
    op.create_table(
        "access_log",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("gateway", sa.String(128), nullable=False),
        sa.Column("node", sa.String(128), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("path", sa.String(512), nullable=False),
        sa.Column("route", sa.String(128), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("details", sa.String(128), nullable=False),
        sa.Column("flags", sa.String(128), nullable=False),
        sa.Column("duration", sa.Double()),
        sa.Column("upstream_duration", sa.Double()),
        sa.Column("upstream", sa.String(128), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("octets_in", sa.BigInteger(), nullable=False),
        sa.Column("octets_out", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.String(128), nullable=False),
        sa.Column("user_agent", sa.String(256), nullable=False),
        sa.Column("caller", sa.String(128), nullable=False),
        sa.Column("subject", sa.String(128), nullable=False),
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("tier", sa.String(32), nullable=False),
        sa.Column("role", sa.String(128), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
    )
    op.create_index("ix_access_log_at", "access_log", ["at"])
    op.create_index("ix_access_log_gateway_at", "access_log", ["gateway", "at"])
    op.create_index("ix_access_log_tenant_at", "access_log", ["tenant", "at"])
    op.create_index("ix_access_log_request_id", "access_log", ["request_id"])


def downgrade() -> None:
    op.drop_table("access_log")
    op.drop_table("usage")
