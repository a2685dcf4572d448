"""Whatever the text, the loader answers with a policy or with errors at real places; it never falls over."""

import json
import re
import string
from collections.abc import Mapping
from typing import Annotated

import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from policy.load import Loaded, load_gateway
from policy.positions import plain
from policy.problem import PolicyError, Source
from policy.yaml_nodes import parse


class Route(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    figure: Annotated[int, Field(strict=True)] | bool | Mapping[str, int] = 1


class Gateway(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    gateway: str
    routes: Mapping[str, Route] = Field(default_factory=dict)
    anything: JsonValue = None


# Text that YAML gives a meaning to, far more often than chance would.
SYNTAX = [": ", "\n", "  ", "- ", "[", "]", "{", "}", ", ", "? ", "&a ", "*a", "!!str ", "'", '"', "|\n", ">-\n", "#"]
MARKS = ["---\n", "...\n", "%YAML 1.2\n", "null", "~", "1", ".inf", "0x", "é", "😀", "\t", "\r", "x"]
BROKEN = ["\u2028", "\x00", "\ud800", "\ufeff"]
TOKENS = st.sampled_from(["gateway", "routes", "path", "figure", *SYNTAX, *MARKS, *BROKEN])
SOUP = st.lists(TOKENS, max_size=40).map("".join) | st.text(max_size=60)

WORDS = st.text(string.ascii_letters + " é-_:#'\"", max_size=8)
NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


def outcome(text: str, *overlays: str) -> Loaded[Gateway] | PolicyError:
    try:
        return load_gateway(Gateway, Source("g.yaml", text), [Source("o.yaml", overlay) for overlay in overlays])
    except PolicyError as error:
        return error


@given(SOUP, SOUP)
def test_any_text_is_a_policy_or_errors_at_places_that_exist(text: str, overlay: str) -> None:
    result = outcome(text, overlay)
    if isinstance(result, PolicyError):
        assert result.problems
        for problem in result.problems:
            lines = re.split(r"\r\n|\r|\n", {"g.yaml": text, "o.yaml": overlay}[problem.position.file])
            assert 1 <= problem.position.line <= len(lines)
            assert 1 <= problem.position.column <= len(lines[problem.position.line - 1]) + 1
        assert all(line.isprintable() for line in str(result).split("\n"))


@given(st.dictionaries(st.sampled_from(["gateway", "routes", "anything", "zzz"]), VALUES))
def test_any_tree_is_a_policy_or_errors(tree: dict[str, JsonValue]) -> None:
    result = outcome(yaml.safe_dump(tree, allow_unicode=True))
    assert result.problems if isinstance(result, PolicyError) else result.gateway.gateway == tree["gateway"]


@given(st.dictionaries(WORDS, VALUES, min_size=1))
def test_a_tree_that_is_written_as_json_is_read_back(tree: dict[str, JsonValue]) -> None:
    document = parse(Source("g.yaml", json.dumps(tree, ensure_ascii=False)))
    assert document.problems == ()
    assert document.root is not None
    assert plain(document.root) == tree


@given(st.lists(st.sampled_from(["", "# comment", "   # é", "fill: er"]), max_size=12), st.integers(0, 4))
def test_a_position_points_at_the_line_that_holds_the_word(lines: list[str], indent: int) -> None:
    filler = [line if not line.startswith("fill") else f"fill{number}: er" for number, line in enumerate(lines)]
    text = "\n".join(["gateway: g", "anything:", *[" " * 2 + line for line in filler], f"{' ' * 2}needle: hay"])
    loaded = load_gateway(Gateway, Source("g.yaml", text))
    place = loaded.positions["anything", "needle"]
    written = text.split("\n")[place.line - 1]
    assert written[place.column - 1 :] == "hay"
