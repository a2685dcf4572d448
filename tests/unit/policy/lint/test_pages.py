"""Every code has a page, whose bad example it finds and whose good one it does not."""

import re
from pathlib import Path

import pytest
import yaml

from policy.lint import CODES, RULES, Severity, lint
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source

PAGES = Path(__file__).parents[4] / "docs" / "lint"
EXAMPLE = Source("example.yaml", (PAGES / "example.yaml").read_text(encoding="utf-8"))


def page(code: str) -> str:
    return (PAGES / f"{code}.md").read_text(encoding="utf-8")


def found_in(code: str, heading: str) -> set[str]:
    """The codes that are found when the example under a heading is merged into the policy of the pages."""
    (changes,) = re.findall(rf"^## {heading}\n\n```yaml\n(.*?)```", page(code), re.MULTILINE | re.DOTALL)
    overlay = yaml.safe_dump({"profile": "page", "gateways": {"example": yaml.safe_load(changes)}})
    loaded = load_gateway(Gateway, EXAMPLE, [Source(f"{code}.md", overlay)])
    findings = lint(loaded.gateway, loaded.positions)
    assert all(one.position is not None for one in findings)
    return {one.code for one in findings}


def test_there_is_nothing_to_find_in_the_policy_that_the_pages_change() -> None:
    assert lint(load_gateway(Gateway, EXAMPLE).gateway) == []


@pytest.mark.parametrize("code", CODES)
def test_the_bad_example_of_a_page_is_found(code: str) -> None:
    assert code in found_in(code, "Bad")


@pytest.mark.parametrize("code", CODES)
def test_nothing_of_the_kind_is_found_in_the_good_example(code: str) -> None:
    assert code not in found_in(code, "Good")


@pytest.mark.parametrize("code", CODES)
def test_a_page_says_what_why_and_how_grave(code: str) -> None:
    text = page(code)
    title, severity = CODES[code]
    assert text.startswith(f"# {code}: {title}\n")
    assert ("An error: " in text) == (severity is Severity.ERROR)
    for heading in ("## Why", "## Bad", "## Good", "## When it is meant"):
        assert f"\n{heading}\n" in text
    if code in RULES:
        assert f"lint_exceptions: {{{code}: " in text


def test_there_is_no_page_without_a_code_and_the_list_names_each() -> None:
    assert {path.stem for path in PAGES.glob("AB*.md")} == set(CODES)
    listed = re.findall(r"^\| \[(AB\d{3})\]\(\1\.md\) \| (\w+) \| (.+) \|$", page("README"), re.MULTILINE)
    assert [code for code, _, _ in listed] == sorted(CODES)
    assert {code: (title, Severity(severity)) for code, severity, title in listed} == dict(CODES)
