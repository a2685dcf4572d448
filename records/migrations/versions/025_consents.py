"""Parents' consents for their children (COPPA).

Revision ID: 025_consents
Revises: 024_admin_audit_chain
"""

import sqlalchemy as sa
from alembic import op

revision = "025_consents"
down_revision = "024_admin_audit_chain"


def upgrade() -> None:
    op.create_table(
        "consents",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("child", sa.String(255), nullable=False),
        sa.Column("parent", sa.String(255), nullable=False),
        sa.Column("method", sa.String(32), nullable=False),
        sa.Column("purposes", sa.JSON(), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("granted_by", sa.String(128), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index("ix_consents_child", "consents", ["child"])
    op.create_index("ix_consents_parent", "consents", ["parent"])


def downgrade() -> None:
    op.drop_table("consents")
