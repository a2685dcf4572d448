"""docs/requirements.md is current, and every marker can be trusted to name a row of it."""

import re
from pathlib import Path

import pytest

from tests.support import requirements


def _claims(tmp_path: Path, source: str) -> list[tuple[str, str]]:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_sample.py").write_text(source)
    return [(claim.requirement, claim.test) for claim in requirements.collect_claims(tests)]


def test_every_requirement_has_one_row() -> None:
    rows = [key for section in requirements.load_sections() for key in section.rows]
    assert rows == [f"U{n}" for n in range(1, 6)] + [f"R{n}" for n in range(1, 121)]


def test_every_row_says_something() -> None:
    for section in requirements.load_sections():
        for key, text in section.rows.items():
            assert re.fullmatch(r"\S.{10,}\.", text), f"{key}: {text!r}"


def test_every_marker_names_a_known_requirement() -> None:
    known = {key for section in requirements.load_sections() for key in section.rows}
    unknown = [claim for claim in requirements.collect_claims() if claim.requirement not in known]
    assert not unknown


def test_the_committed_table_is_current() -> None:
    current = requirements.render(requirements.load_sections(), requirements.collect_claims())
    assert requirements.TABLE.read_text("utf-8") == current, "run: make requirements"


def test_markers_are_found_on_functions_classes_modules_and_parameters(tmp_path: Path) -> None:
    claims = _claims(
        tmp_path,
        """
import pytest
pytestmark = [pytest.mark.e2e, pytest.mark.requirement("R1")]

@pytest.mark.requirement("R2", "R3")
async def test_function(): ...

@pytest.mark.requirement("R4")
class TestGroup:
    pytestmark = pytest.mark.requirement("R5")

    @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.requirement("R6"))])
    def test_method(self, x): ...
""",
    )
    assert claims == [
        ("R1", "TestGroup::test_method"),
        ("R1", "test_function"),
        ("R2", "test_function"),
        ("R3", "test_function"),
        ("R4", "TestGroup::test_method"),
        ("R5", "TestGroup::test_method"),
        ("R6", "TestGroup::test_method"),
    ]


def test_a_marker_that_no_test_carries_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(requirements.MarkerError, match=r"test_sample\.py:2: this marker belongs to no test"):
        _claims(tmp_path, 'import pytest\n@pytest.mark.requirement("R1")\ndef helper(): ...\n')


def test_a_marker_whose_id_is_computed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(requirements.MarkerError, match="write the ids as literals"):
        _claims(tmp_path, 'import pytest\n@pytest.mark.requirement(f"R{1}")\ndef test_one(): ...\n')


def test_a_row_lists_its_tests_and_a_row_without_one_stays_empty() -> None:
    sections = [requirements.Section("Group", {"R1": "One | two.", "R2": "Three."})]
    claims = [requirements.Claim("R1", "tests/a.py", "test_x", 3), requirements.Claim("R1", "tests/a.py", "test_y", 9)]
    text = requirements.render(sections, claims)
    assert "| R1 | One \\| two. | [tests/a.py](../tests/a.py): `test_x`, `test_y` |" in text
    assert "| R2 | Three. |  |" in text
    assert "1 of 2 rows are shown by a test." in text
