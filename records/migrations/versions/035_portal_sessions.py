"""Who is signed in to the developer portal.

Revision ID: 035_portal_sessions
Revises: 028_usage
"""

import sqlalchemy as sa
from alembic import op

revision = "035_portal_sessions"
down_revision = "028_usage"


def upgrade() -> None:
    op.create_table(
        "portal_sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("person", sa.JSON(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
    )
    op.create_index("ix_portal_sessions_ends_at", "portal_sessions", ["ends_at"])


def downgrade() -> None:
    op.drop_table("portal_sessions")
