"""docs/attacks.md is current, and every attack has a test that makes it."""

from tests.support import attacks
from tests.support.requirements import shown_by


def test_every_attack_has_one_row() -> None:
    rows = [key for section in attacks.sections() for key in section.rows]
    assert rows == [f"A{n}" for n in range(1, 77)]


def test_every_attack_is_made_by_a_test_and_no_test_makes_an_unknown_one() -> None:
    assert shown_by(attacks.claims()).keys() == {key for section in attacks.sections() for key in section.rows}


def test_the_committed_table_is_current() -> None:
    current = attacks.render(attacks.sections(), attacks.claims())
    assert attacks.TABLE.read_text("utf-8") == current, "run: make attacks"
