"""Tokens that are refused although they are good.

Revision ID: 026_revocations
Revises: 025_consents
"""

import sqlalchemy as sa
from alembic import op

revision = "026_revocations"
down_revision = "025_consents"


def upgrade() -> None:
    op.create_table(
        "revocations",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("jti", sa.String(128), nullable=True),
        sa.Column("subject", sa.String(255), nullable=True),
        sa.Column("issued_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("revoked_by", sa.String(128), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_revocations_until", "revocations", ["until"])


def downgrade() -> None:
    op.drop_table("revocations")
