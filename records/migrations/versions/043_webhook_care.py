"""Webhooks that are switched off, and secrets that are replaced.

Revision ID: 043_webhook_care
Revises: 042_by_key
"""

import sqlalchemy as sa
from alembic import op

revision = "043_webhook_care"
down_revision = "042_by_key"


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("old_secret", sa.String(64), nullable=False, server_default=""))
    op.add_column("webhooks", sa.Column("old_until", sa.Double()))
    op.add_column("webhooks", sa.Column("disabled", sa.String(16), nullable=False, server_default=""))
    op.add_column("webhooks", sa.Column("failing_since", sa.Double()))
    op.add_column("webhook_deliveries", sa.Column("took", sa.Double()))


def downgrade() -> None:
    op.drop_column("webhook_deliveries", "took")
    for name in ("failing_since", "disabled", "old_until", "old_secret"):
        op.drop_column("webhooks", name)
