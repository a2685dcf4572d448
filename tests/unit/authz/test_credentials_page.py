"""The page on credentials names tests that exist, each where it says."""

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
PAGE = (PROJECT / "docs" / "operate" / "credentials.md").read_text(encoding="utf-8")


def named() -> list[tuple[str, str]]:
    """File and function of each test in the table of clauses."""
    found = []
    for row in re.findall(r"^\| (?:RFC|§).*\|$", PAGE, re.MULTILINE):
        file = ""
        for word in re.findall(r"`(tests/[\w/]+\.py|test_\w+)`", row):
            file = word if word.endswith(".py") else file
            if word != file:
                found.append((file, word))
    return found


def test_every_test_that_the_table_of_clauses_names_is_there() -> None:
    assert len(named()) > 20
    missing = [
        (file, test)
        for file, test in named()
        if not re.search(rf"^(async )?def {test}\(", (PROJECT / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert missing == []


def test_every_clause_of_the_practices_has_its_row() -> None:
    clauses = re.findall(r"^\| (?:RFC 8725 )?§3\.(\d+),", PAGE, re.MULTILINE)
    assert [int(clause) for clause in clauses] == list(range(1, 13))
