"""Every code that a client can be refused with has its page in docs/errors/, and every page its code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from apibank.issuer import refresh
from apibank.policies import PolicyFolder, shipped
from authz.reasons import ANSWERS
from policy.limits import Limit
from xds.compiler import traffic
from xds.compiler.local_replies import OTHER, PROBLEMS

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "errors"
# What makes an answer of the control API: its status and its code come first.
_MAKERS = {"Refused", "problem"}


def of_authorization() -> dict[str, str]:
    return {reason.value: str(answer.status) for reason, answer in ANSWERS.items()}


def of_envoy() -> dict[str, str]:
    codes = {each.code: str(each.status) for each in PROBLEMS}
    return codes | {OTHER.code: "any"} | _called(Path(str(traffic.__file__)), {"Problem"})


def of_limits() -> dict[str, str]:
    folder = PolicyFolder(shipped("gateways"), ("dev",))
    limits = [limit for each in folder.load().gateways.values() for limit in each.gateway.limits.values()]
    return {limit.code: "429" for limit in limits} | {str(Limit.model_fields["code"].default): "429"}


def of_refreshing() -> dict[str, str]:
    refusals = [each for each in vars(refresh).values() if type(each).__name__ == "_Refusal"]
    return {each.code: str(each.status) for each in refusals}


def of_the_control_api() -> dict[str, str]:
    codes: dict[str, str] = {}
    for folder in ("portal", "apibank"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            codes |= _called(path, _MAKERS)
    return codes


def _called(path: Path, makers: set[str]) -> dict[str, str]:
    """By code the status, of calls such as `Refused(404, "key_not_found", ...)` in a file."""
    return dict(_calls(ast.parse(path.read_text(encoding="utf-8")), makers))


def _calls(tree: ast.AST, makers: set[str]) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in makers:
            continue
        match node.args[:2]:
            case [ast.Constant(value=int(status)), ast.Constant(value=str(code))]:
                yield code, str(status)


SOURCES = (of_authorization, of_envoy, of_limits, of_refreshing, of_the_control_api)
CODES = [(source.__name__, code, status) for source in SOURCES for code, status in source().items()]


@pytest.mark.parametrize(("source", "code", "status"), CODES, ids=[f"{one[0]}-{one[1]}" for one in CODES])
def test_every_code_has_a_page_that_names_its_status(source: str, code: str, status: str) -> None:
    path = PAGES / f"{code}.md"
    assert path.is_file(), f"write docs/errors/{code}.md, and name it in docs/errors/README.md"
    heading, _, summary, _, *rest = path.read_text(encoding="utf-8").splitlines()
    assert heading == f"# {code}"
    assert status in {"any", summary.split(" · ")[0]} or code in _SHARED
    assert "## What happened" in rest
    assert "## What to do" in rest


# Two answer with one code, and Envoy's own has another status.
_SHARED = {"internal_error"}


def test_every_source_has_codes() -> None:
    assert all(len(source()) >= 2 for source in SOURCES)


def test_no_page_is_of_a_code_that_nobody_answers() -> None:
    known = {code for _, code, _ in CODES}
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} <= known


def test_the_index_lists_every_page() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    assert [path.stem for path in PAGES.glob("*.md") if path.stem != "README" and f"]({path.name})" not in index] == []


def test_titles_are_those_of_the_answers() -> None:
    for reason, answer in ANSWERS.items():
        if reason.value not in _SHARED | {"body_too_large"}:
            summary = (PAGES / f"{reason.value}.md").read_text(encoding="utf-8").splitlines()[2]
            assert summary.split(" · ")[1] == answer.title
