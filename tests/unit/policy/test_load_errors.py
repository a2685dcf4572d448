"""Every error of a file at once, in plain words, at its place."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from policy.load import load_gateway
from policy.problem import MOST_PROBLEMS, PolicyError, Problem, Source, render


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Static(Part):
    kind: Literal["static"]
    endpoints: tuple[str, ...]


class Dns(Part):
    kind: Literal["dns"]
    host: str


class Plain(Part):
    size: int


class Wide(Part):
    width: int
    height: int


class Route(Part):
    path: Annotated[str, Field(pattern="^/", description="Where it is served.")]
    colour: Colour = Colour.RED
    timeout: Annotated[int, Field(strict=True, ge=1, le=100)] = 5
    methods: Annotated[tuple[str, ...], Field(min_length=1)] = ("GET",)
    figure: Annotated[int, Field(strict=True)] | Literal["unlimited"] | Colour = 1
    target: Annotated[Static | Dns, Field(discriminator="kind")] | None = None
    shape: Plain | Wide | None = None
    by_colour: Mapping[Colour, int] = Field(default_factory=dict)
    either: int | None = None
    other: int | None = None

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.either is not None and self.other is not None:
            raise ValueError("not both of either and other")
        return self


class Gateway(Part):
    gateway: str
    upstreams: Mapping[str, int] = Field(default_factory=dict)
    routes: Mapping[str, Route]

    def problems(self) -> list[Problem]:
        return [
            Problem(("routes", name, "path"), f"nothing serves {route.path}", expected="one of the upstreams")
            for name, route in self.routes.items()
            if self.upstreams and route.path[1:] not in self.upstreams
        ]


def errors(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        load_gateway(Gateway, Source("g.yaml", text))
    return caught.value


NUMBER_OR_WORD = "expected a whole number or unlimited or red or green"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("path: /x, »colur: red", "colur: unknown field"),
        ("path: »x", 'path: expected text that matches ^/, found "x"'),
        ("path: »5", "path: expected text, found 5"),
        ("path: /x, colour: »rde", 'colour: expected red or green, found "rde"'),
        ("path: /x, timeout: »0", "timeout: expected a number of at least 1, found 0"),
        ("path: /x, timeout: »101", "timeout: expected a number of at most 100, found 101"),
        ("path: /x, timeout: »'5'", 'timeout: expected a whole number, found "5"'),
        ("path: /x, timeout: »true", "timeout: expected a whole number, found true"),
        ("path: /x, timeout: »1.5", "timeout: expected a whole number, found 1.5"),
        ("path: /x, »timeout: ", "timeout: expected a whole number, found nothing"),
        ("path: /x, methods: »GET", 'methods: expected a list, found "GET"'),
        ("path: /x, »methods: []", "methods: expected at least 1 of them, found an empty list"),
        ("path: /x, methods: [GET, »[a]]", "methods[1]: expected text, found a list of 1"),
        ("path: /x, by_colour: {red: 1, »blu: 2}", 'by_colour.blu: expected red or green, found the key "blu"'),
        ("path: /x, figure: »x", f'figure: {NUMBER_OR_WORD}, found "x"'),
        ("path: /x, »figure: [1]", f"figure: {NUMBER_OR_WORD}, found a list of 1"),
        ("path: /x, target: {kind: dns, »hots: a, host: b}", "target.hots: unknown field"),
        ("path: /x, target: {kind: »dsn, host: b}", 'target.kind: expected static or dns, found "dsn"'),
        ("path: /x, »target: {host: b}", "target.kind: missing field"),
        ("path: /x, shape: {width: 1, height: »tall}", 'shape.height: expected a whole number, found "tall"'),
    ],
)
def test_an_error_says_what_was_found_and_what_was_expected(fields: str, message: str) -> None:
    line = f"  r: {{{fields}}}"
    (only,) = errors(f"gateway: g\nroutes:\n{line.replace('»', '')}\n").problems
    assert render(only).splitlines()[0] == f"error: g.yaml:3:{line.index('»') + 1}: routes.r.{message}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [("colour: red", "r.path: missing field"), ("path: /x, either: 1, other: 2", "r: not both of either and other")],
)
def test_what_has_no_place_of_its_own_is_shown_at_what_lacks_it(fields: str, message: str) -> None:
    (only,) = errors(f"gateway: g\nroutes:\n  r: {{{fields}}}\n").problems
    assert render(only).splitlines()[0] == f"error: g.yaml:3:3: routes.{message}"


def test_every_error_is_reported_at_once_in_the_order_of_the_lines() -> None:
    text = "gateway: g\nzzz: 1\nzzz: 2\nroutes:\n  a: {path: x}\n  b: {colour: blue}\n  c: &c {path: /c}\n"
    assert [(one.position.line, one.position.column) for one in errors(text).problems] == [
        (2, 1),
        (3, 1),
        (5, 13),
        (6, 3),
        (6, 15),
        (7, 6),
    ]


def test_what_could_not_be_read_is_not_reported_a_second_time() -> None:
    (only,) = errors("gateway: g\nroutes: *everything\n").problems
    assert only.message == "an alias"


def test_rules_across_fields_are_reported_together_at_the_fields_they_name() -> None:
    text = "gateway: g\nupstreams: {b: 1}\nroutes:\n  r: {path: /a}\n  s: {path: /b}\n  t:\n    path: /c\n"
    assert [(str(one.position), one.message, one.expected) for one in errors(text).problems] == [
        ("g.yaml:4:13", "nothing serves /a", "one of the upstreams"),
        ("g.yaml:7:11", "nothing serves /c", "one of the upstreams"),
    ]


def test_a_file_that_is_no_map_is_refused() -> None:
    (only,) = errors("- a\n- b\n").problems
    assert only.message == "expected a map of fields, found a list of 2"


def test_a_misspelt_field_is_guessed() -> None:
    (only,) = errors("gateway: g\nroutes:\n  r:\n    path: /x\n    metods: [GET]\n").problems
    assert only.hint == "did you mean methods?"
    assert "methods" in only.expected


def test_people_see_the_line_and_a_caret_under_what_is_meant() -> None:
    assert str(errors("gateway: g\nroutes:\n  r:\n\t".replace("\t", "    ") + "path: /x\n    colour: grene\n")) == (
        'error: g.yaml:5:13: routes.r.colour: expected red or green, found "grene"\n'
        "  |\n"
        "5 |     colour: grene\n"
        "  |             ^^^^^\n"
        "  = hint: did you mean green?"
    )


def test_programs_get_the_same_as_fields() -> None:
    (only,) = errors("gateway: g\nroutes: {r: {path: x}}\n").problems
    assert json.loads(json.dumps(only.as_record())) == {
        "file": "g.yaml",
        "line": 2,
        "column": 20,
        "path": "routes.r.path",
        "message": 'expected text that matches ^/, found "x"',
        "found": '"x"',
        "expected": "text that matches ^/",
        "hint": "Where it is served.",
    }


def test_a_very_long_line_is_cut_around_the_place() -> None:
    shown = str(errors(f"gateway: g\nroutes: {{r: {{path: /x, colour: blue, either: {'1' * 15}}}}}{' ' * 400}# x\n"))
    assert max(len(line) for line in shown.splitlines()) < 200
    text, caret = [line for line in shown.splitlines() if "|" in line][1:]
    assert text[caret.index("^") :].startswith("blue")


def test_control_characters_of_a_file_never_reach_the_terminal() -> None:
    assert "\x1b" not in str(errors("gateway: g\nroutes: {} # \x1b[31m\n"))


def test_a_loaded_policy_knows_where_everything_is_written() -> None:
    loaded = load_gateway(
        Gateway, Source("g.yaml", "gateway: g\nroutes:\n  r:\n    path: /x\n    methods: [GET, PUT]\n")
    )
    assert loaded.gateway.routes["r"].methods == ("GET", "PUT")
    assert {path: (place.line, place.column) for path, place in loaded.positions.items()} == {
        (): (1, 1),
        ("gateway",): (1, 10),
        ("routes",): (2, 1),
        ("routes", "r"): (3, 3),
        ("routes", "r", "path"): (4, 11),
        ("routes", "r", "methods"): (5, 5),
        ("routes", "r", "methods", 0): (5, 15),
        ("routes", "r", "methods", 1): (5, 20),
    }


def test_a_default_is_nowhere_and_nearest_to_what_it_belongs_to() -> None:
    loaded = load_gateway(Gateway, Source("g.yaml", "gateway: g\nroutes:\n  r: {path: /x}\n"))
    assert ("routes", "r", "timeout") not in loaded.positions
    assert loaded.positions.nearest(("routes", "r", "timeout")) == loaded.positions["routes", "r"]


def test_of_more_errors_than_anybody_reads_the_first_are_told_and_how_many_there_are() -> None:
    routes = "".join(f"  r{number}: {{pth: /x}}\n" for number in range(5_000))
    refused = errors(f"gateway: g\nroutes:\n{routes}")
    *first, last = refused.problems
    assert len(first) == MOST_PROBLEMS
    assert last.message == f"and from here on {10_000 - MOST_PROBLEMS} more that are wrong"
    assert len(str(refused)) < 200_000
