"""A folder of limits loses none of them: what cannot be read, or would cancel itself, is refused whole."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from policy.problem import PolicyError, Source
from ratelimit.config_files import FileOptions, load_rules, read_folder, reload_folder
from ratelimit.limiter import RateLimiter
from ratelimit.matching import plan
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.request import Descriptor, Request

GOOD = "domain: d\ndescriptors:\n  - {key: a, rate_limit: {unit: day, requests_per_unit: 1}}\n"


def named(*rules: tuple[str, str, str]) -> str:
    """Rules as (key, its name, what it replaces)."""
    rate = "unit: day, requests_per_unit: 1"
    lines = [
        f"  - {{key: {key}, rate_limit: {{{rate}, name: {name}, replaces: [{{name: {other}}}]}}}}"
        for key, name, other in rules
    ]
    return "\n".join(["domain: d", "descriptors:", *lines])


def test_bytes_that_are_no_text_are_refused_at_their_line_and_end_no_reload(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    limiter = RateLimiter(MemoryStore(10), RateLimitMetrics(CollectorRegistry()))
    assert reload_folder(limiter, tmp_path) is None
    (tmp_path / "a.yaml").write_bytes(GOOD.encode().replace(b"key: a", b"key: caf\xe9"))
    (tmp_path / "b.yaml").write_bytes("domain: e".encode("utf-16"))
    wrong = reload_folder(limiter, tmp_path)
    assert isinstance(wrong, PolicyError)
    assert [(one.position.file, one.position.line) for one in wrong.problems] == [("a.yaml", 3), ("b.yaml", 1)]
    assert "not UTF-8" in str(wrong)
    assert limiter.domains["d"].match((("a", "x"),)) is not None


def test_a_link_that_leads_nowhere_is_no_absent_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"b\.yaml"):
        read_folder(tmp_path)


def test_an_editors_note_of_who_has_a_file_open_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / ".#a.yaml").symlink_to("somebody@host.4711")
    assert list(read_folder(tmp_path)) == ["d"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (named(("a", "x", "y"), ("b", "y", "x")), ["x -> y -> x", "y -> x -> y"]),
        (
            named(("a", "x", "y"), ("b", "y", "z"), ("c", "z", "x")),
            ["x -> y -> z -> x", "y -> z -> x -> y", "z -> x -> y -> z"],
        ),
    ],
    ids=["two", "three"],
)
def test_rules_that_replace_each_other_in_a_circle_are_refused(text: str, words: list[str]) -> None:
    with pytest.raises(PolicyError) as raised:
        load_rules([Source("a.yaml", text)])
    (problem,) = raised.value.problems
    assert any(each in problem.message for each in words)
    assert problem.position.file == "a.yaml"
    assert problem.position.line in {3, 4, 5}


def test_a_circle_is_found_over_files_and_below_other_descriptors() -> None:
    below = "domain: d\ndescriptors:\n  - key: k\n    descriptors:\n    " + named(("b", "y", "x")).splitlines()[-1]
    sources = [Source("a.yaml", named(("a", "x", "y"))), Source("b.yaml", below)]
    with pytest.raises(PolicyError, match="replace each other"):
        load_rules(sources, FileOptions(merge_domains=True))
    # In domains of their own they never meet.
    apart = [sources[0], Source("b.yaml", below.replace("domain: d", "domain: e"))]
    assert set(load_rules(apart)) == {"d", "e"}


def test_a_chain_of_replacements_is_no_circle() -> None:
    made = load_rules([Source("a.yaml", named(("a", "x", "y"), ("b", "y", "z"), ("c", "z", "w")))])
    both = plan(Request("d", (Descriptor((("a", "1"),)), Descriptor((("b", "1"),)))), made)
    assert [rule.known_as for rule in both.limited] == ["x"]


@pytest.mark.parametrize("written", ["1.5", "1e3", "007", "0x10", "true", "1_000", "2026-01-01"])
def test_a_value_that_looks_like_something_else_is_the_text_that_is_written(written: str) -> None:
    text = GOOD.replace("key: a", f"key: a, value: {written}")
    made = load_rules([Source("a.yaml", text)])
    assert made["d"].match((("a", written),)) is not None
    assert made["d"].match((("a", "else"),)) is None
