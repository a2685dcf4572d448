"""Changes of policies, the configuration that was good last, and endpoints that were set while running.

Revision ID: 023_policy_history
Revises: 022_fact_versions
"""

import sqlalchemy as sa
from alembic import op

revision = "023_policy_history"
down_revision = "022_fact_versions"


def upgrade() -> None:
    op.create_table(
        "policy_history",
        sa.Column("revision", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("gateway", sa.String(64), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author", sa.String(128), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("result", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("canary_percent", sa.Integer(), nullable=True),
    )
    op.create_index("ix_policy_history_gateway_revision", "policy_history", ["gateway", "revision"])
    op.create_index("ix_policy_history_version", "policy_history", ["version"])
    op.create_table(
        "last_good_snapshots",
        sa.Column("node_group", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "endpoint_overrides",
        sa.Column("gateway", sa.String(64), primary_key=True),
        sa.Column("upstream", sa.String(64), primary_key=True),
        sa.Column("endpoints", sa.JSON(), nullable=False),
        sa.Column("written", sa.JSON(), nullable=False),
        sa.Column("author", sa.String(128), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("endpoint_overrides")
    op.drop_table("last_good_snapshots")
    op.drop_table("policy_history")
