"""What the YAML of a policy may hold, and where each part of it is."""

import pytest

from policy.positions import plain
from policy.problem import Source
from policy.yaml_nodes import MAX_CHARACTERS, MAX_DEPTH, Node, parse


def read(text: str) -> Node:
    document = parse(Source("a.yaml", text))
    assert document.problems == ()
    assert document.root is not None
    return document.root


def refusals(text: str) -> list[tuple[str, str]]:
    return [(str(one.position), one.message) for one in parse(Source("a.yaml", text)).problems]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("12:30", "12:30"),
        ("2026-11-22", "2026-11-22"),
        ("1_000", "1_000"),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", 10),
        ("-7", -7),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("1.2.3", "1.2.3"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("-", None),
        ("~", None),
        ("null", None),
        ("", None),
        ('"true"', "true"),
        ("'1'", "1"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_a_plain_scalar_means_what_the_core_schema_of_yaml_1_2_says(written: str, value: object) -> None:
    text = f"- {written}\n" if written != "-" else "-\n"
    found = plain(read(text))
    assert found == [value]
    assert isinstance(found, list)
    assert type(found[0]) is type(value)


def test_a_key_is_the_word_that_is_written_there() -> None:
    assert plain(read("404: a\nnull: b\non: c\ntrue: d\n1.0: e\n")) == {
        "404": "a", "null": "b", "on": "c", "true": "d", "1.0": "e",
    }  # fmt: skip


def test_a_key_that_is_written_twice_is_refused_at_the_second() -> None:
    assert refusals("a: 1\nb: {c: 1, c: 2}\na: 2\n") == [
        ("a.yaml:2:11", "c is written twice"),
        ("a.yaml:3:1", "a is written twice"),
    ]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: &x 1\n", "a.yaml:1:4", "an anchor"),
        ("a: &x {b: 1}\n", "a.yaml:1:4", "an anchor"),
        ("a: *x\n", "a.yaml:1:4", "an alias"),
        ("a: !!python/object:os.system x\n", "a.yaml:1:4", "the tag tag:yaml.org,2002:python/object:os.system"),
        ("a: !!str 1\n", "a.yaml:1:4", "the tag tag:yaml.org,2002:str"),
        ("a: ! [1]\n", "a.yaml:1:4", "the tag !"),
        ("? [a]\n: 1\n", "a.yaml:1:3", "a key that is not a plain word"),
        ("a: .nan\n", "a.yaml:1:4", "a number that nothing can count"),
        ("a: -.inf\n", "a.yaml:1:4", "a number that nothing can count"),
        ("a: 1e999\n", "a.yaml:1:4", "a number that nothing can count"),
        (f"a: {'9' * 5000}\n", "a.yaml:1:4", "a number that nothing can count"),
        ("a: 9223372036854775808\n", "a.yaml:1:4", "a number that nothing can count"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2:1", "a second document"),
        ("", "a.yaml:1:1", "the file is empty"),
        ("# nothing here\n", "a.yaml:1:1", "the file is empty"),
        ("a: 1\nb: \x1b[2J\n", "a.yaml:2:4", "a character that policies cannot hold"),
        ("a: '\ud800'\n", "a.yaml:1:5", "a character that policies cannot hold"),
        # libyaml counts it as a line break and editors do not: every position after it would be wrong.
        ("a: x\u2028b\n", "a.yaml:1:5", "a character that policies cannot hold"),
    ],
)
def test_what_a_policy_cannot_hold_is_refused_at_its_place(text: str, place: str, message: str) -> None:
    assert refusals(text) == [(place, message)]


def test_text_that_is_no_yaml_says_where_it_stops_to_be_some() -> None:
    ((place, message),) = refusals("a: [1, 2\nb: 3\n")
    assert place.startswith("a.yaml:2:")
    assert message.startswith("not YAML: ")


def test_a_bracket_that_is_never_closed_is_shown_where_it_was_opened() -> None:
    assert refusals("a: [1, 2")[0][0] == "a.yaml:1:4"


def test_aliases_cannot_blow_a_small_file_up() -> None:
    laughs = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(9)
    )
    assert {message for _, message in refusals(laughs)} == {"an anchor", "an alias"}


@pytest.mark.parametrize("deep", ["[" * 100_000, "{a: " * 50_000, "- " * 100_000, "? " * 100_000])
def test_depth_is_bounded(deep: str) -> None:
    assert "nested too deeply" in [message for _, message in refusals(deep)]


def test_the_deepest_that_is_allowed_is_read() -> None:
    read("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_size_is_bounded() -> None:
    assert refusals("a: " + "x" * MAX_CHARACTERS) == [("a.yaml:1:1", "the file is too long")]


def test_a_byte_order_mark_moves_no_column() -> None:
    root = read("\ufeffa: 1\n")
    assert isinstance(root.content, dict)
    assert str(root.content["a"].key.position) == "a.yaml:1:1"


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_editors_count_them(line_break: str) -> None:
    root = read(line_break.join(["a: 1", "# é", "b:", "  c: 😀 x", "d: {e: [5, 6]}", ""]))
    assert isinstance(root.content, dict)
    places = {key: (str(entry.key.position), str(entry.value.position)) for key, entry in root.content.items()}
    assert places == {
        "a": ("a.yaml:1:1", "a.yaml:1:4"),
        "b": ("a.yaml:3:1", "a.yaml:4:3"),
        "d": ("a.yaml:5:1", "a.yaml:5:4"),
    }
