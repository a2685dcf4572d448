"""The revision that processes expect is the newest that there is."""

from alembic.config import Config
from alembic.script import ScriptDirectory

from records import upgrade


def test_the_expected_revision_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(upgrade._MIGRATIONS).replace("%", "%%"))
    assert ScriptDirectory.from_config(config).get_current_head() == upgrade.HEAD
