"""Usage and requests of one caller, found without looking through everybody's.

Revision ID: 036_by_caller
Revises: 035_portal_sessions
"""

from alembic import op

revision = "036_by_caller"
down_revision = "035_portal_sessions"


def upgrade() -> None:
    op.create_index("ix_usage_caller_start", "usage", ["caller", "start"])
    op.create_index("ix_access_log_caller_id", "access_log", ["caller", "id"])


def downgrade() -> None:
    op.drop_index("ix_access_log_caller_id", "access_log")
    op.drop_index("ix_usage_caller_start", "usage")
