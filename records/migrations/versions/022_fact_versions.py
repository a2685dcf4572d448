"""Versions of facts, and which process decides by which.

Revision ID: 022_fact_versions
Revises: 021_api_keys
"""

import sqlalchemy as sa
from alembic import op

revision = "022_fact_versions"
down_revision = "021_api_keys"


def upgrade() -> None:
    op.create_table(
        "fact_versions",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "fact_applied",
        sa.Column("instance", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("gateway", sa.String(64), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("fact_applied")
    op.drop_table("fact_versions")
