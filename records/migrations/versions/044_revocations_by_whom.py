"""Revocations of one token or person, found without reading all of them: each page of the portal asks.

Revision ID: 044_revocations_by_whom
Revises: 043_webhook_care
"""

from alembic import op

revision = "044_revocations_by_whom"
down_revision = "043_webhook_care"


def upgrade() -> None:
    op.create_index("ix_revocations_issuer_jti", "revocations", ["issuer", "jti"])
    op.create_index("ix_revocations_issuer_subject", "revocations", ["issuer", "subject"])


def downgrade() -> None:
    op.drop_index("ix_revocations_issuer_subject", "revocations")
    op.drop_index("ix_revocations_issuer_jti", "revocations")
