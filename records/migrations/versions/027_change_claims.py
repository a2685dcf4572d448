"""Which change of a gateway's policy is being made now, by whom.

Revision ID: 027_change_claims
Revises: 026_revocations
"""

import sqlalchemy as sa
from alembic import op

revision = "027_change_claims"
down_revision = "026_revocations"


def upgrade() -> None:
    op.create_table(
        "change_claims",
        sa.Column("gateway", sa.String(64), primary_key=True),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("change_claims")
