"""Bodies: all there, JSON that has one reading, and what the schema says (attacks A47 to A54)."""

import json

import jsonschema_rs
import pytest

from authz.body_schema import MAX_ERRORS, BodySchema
from authz.case import NO_DOCUMENT, Case
from authz.checks.schema import check_schema
from authz.decision import FieldError, Refusal
from authz.principal import NOBODY
from authz.reasons import Reason
from tests.unit.authz.world import CONTENT, NOW, facts, request, rules

RULES = rules()
TEXT = json.dumps(CONTENT).encode()
JSON = {"content-type": "application/json"}


def check(route: str = "content", method: str = "POST", **changes: object) -> tuple[Refusal | None, Case]:
    asked = request(route, method=method, **changes)  # type: ignore[arg-type]
    case = Case(asked, RULES, RULES.routes[route], facts(), NOW, NOBODY)
    case.method = case.route.methods.get(method)
    return check_schema(case), case


def errors_of(**changes: object) -> tuple[FieldError, ...]:
    body = {name: value for name, value in {**CONTENT, **changes}.items() if value is not ...}
    refusal, _ = check(json_body=body)
    assert refusal is None or refusal.reason is Reason.BODY_INVALID
    return () if refusal is None else refusal.errors


@pytest.mark.requirement("R40", "R41")
def test_a_good_body_passes_and_is_read_once_for_the_checks_after_it() -> None:
    refusal, case = check(json_body=CONTENT)
    assert refusal is None
    assert case.document == CONTENT


@pytest.mark.requirement("R40", "R41", "R77", "R102")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"topic": ...}, FieldError("/topic", "required")),
        ({"topic": ""}, FieldError("/topic", "minLength")),
        ({"topic": "\u200b\u200c \t"}, FieldError("/topic", "pattern")),
        ({"topic": "x" * 200}, FieldError("/topic", "maxLength")),
        ({"topic": "😀" * 200}, FieldError("/topic", "maxLength")),
        ({"topic": 5}, FieldError("/topic", "type")),
        ({"topic": ["x"]}, FieldError("/topic", "type")),
        ({"tone": "angry"}, FieldError("/tone", "enum")),
        ({"tone": "casual\n"}, FieldError("/tone", "enum")),
        ({"tone": "casual' OR '1'='1"}, FieldError("/tone", "enum")),
        ({"length": "500; DROP TABLE users"}, FieldError("/length", "type")),
        ({"length": 99}, FieldError("/length", "minimum")),
        ({"length": 5001}, FieldError("/length", "maximum")),
        ({"length": 2**53 - 1}, FieldError("/length", "maximum")),
        ({"length": "500"}, FieldError("/length", "type")),
        ({"length": 500.0}, FieldError("/length", "type")),
        ({"length": 500.5}, FieldError("/length", "type")),
        ({"length": True}, FieldError("/length", "type")),
        ({"length": None}, FieldError("/length", "type")),
        ({"keywords": [str(n) for n in range(11)]}, FieldError("/keywords", "maxItems")),
        ({"keywords": ["a", 5]}, FieldError("/keywords/1", "type")),
        ({"keywords": {"0": "a"}}, FieldError("/keywords", "type")),
        ({"admin": True}, FieldError("", "additionalProperties")),
        ({"Topic": "x"}, FieldError("", "additionalProperties")),
    ],
)
def test_a_body_that_breaks_the_schema_is_told_where_and_which_rule(
    changes: dict[str, object], error: FieldError
) -> None:
    assert error in errors_of(**changes)


@pytest.mark.requirement("R41")
@pytest.mark.parametrize(
    "changes",
    [
        {"topic": "x" * 199},
        {"topic": "😀" * 199},
        {"topic": "\u0065\u0301"},
        {"topic": "'; DROP TABLE users; --"},
        {"length": 100},
        {"length": 5000},
        {"keywords": []},
        {"keywords": [str(n) for n in range(10)]},
        {"keywords": ...},
    ],
)
def test_a_body_at_the_edge_of_the_schema_passes(changes: dict[str, object]) -> None:
    assert errors_of(**changes) == ()


def test_a_number_in_scientific_writing_is_not_an_integer() -> None:
    refusal, _ = check(body=TEXT.replace(b"500", b"5e2"), headers=JSON)
    assert refusal is not None
    assert refusal.errors == (FieldError("/length", "type"),)


@pytest.mark.requirement("R95", "R106")
def test_an_error_repeats_nothing_that_the_client_sent() -> None:
    schema = BodySchema(
        {"type": "object", "additionalProperties": {"type": "object", "properties": {"known/~": {"type": "integer"}}}}
    )
    (error,) = schema.errors({"secret-name": {"known/~": "secret-value"}})
    assert error == FieldError("/*/known~1~0", "type")


def test_a_member_that_is_missing_is_named_where_it_belongs() -> None:
    inner = {"type": "object", "required": ["a/b", "plain"], "dependentRequired": {"plain": ["because"]}}
    schema = BodySchema({"type": "object", "required": ["topic"], "additionalProperties": inner})
    told = schema.errors({"of-the-client": {"plain": 1}, "topic": {"a/b": 1, "plain": 1, "because": 1}})
    assert set(told) == {FieldError("/*/a~1b", "required"), FieldError("/*/because", "dependentRequired")}
    assert schema.errors({}) == (FieldError("/topic", "required"),)


def test_the_errors_of_one_body_are_bounded() -> None:
    schema = BodySchema({"type": "array", "items": {"type": "integer"}})
    assert len(schema.errors(["x"] * 200)) == MAX_ERRORS


@pytest.mark.parametrize(
    "document",
    [
        ["x"] * 256,
        ["x"] * 30_000,
        [["x"] * 16] * 16,
        {str(n): "x" for n in range(256)},
        ["x" * 65_537],
        {"x" * 65_537: 0},
    ],
    ids=["list", "long list", "lists", "object", "text", "name"],
)
def test_of_a_large_document_it_is_only_said_that_it_is_wrong(
    document: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = BodySchema({"items": {"type": "integer"}, "additionalProperties": False})
    validator = OnlyWhether(schema._validator)
    monkeypatch.setattr(schema, "_validator", validator)
    assert schema.errors(document) == (FieldError("", "schema"),)  # type: ignore[arg-type]
    assert validator.asked == 1


class OnlyWhether:
    """A validator that does not list errors."""

    def __init__(self, validator: jsonschema_rs.Draft202012Validator) -> None:
        self.validator = validator
        self.asked = 0

    def is_valid(self, document: object) -> bool:
        self.asked += 1
        return self.validator.is_valid(document)


@pytest.mark.parametrize(("size", "read"), [(4000, True), (5000, False)])
def test_a_body_of_too_many_values_is_not_read(size: int, read: bool) -> None:
    refusal, case = check(body=json.dumps([1] * size).encode(), headers=JSON)
    assert refusal is not None
    rule = "schema" if read else "count"
    assert refusal.reason is (Reason.BODY_INVALID if read else Reason.BODY_MALFORMED)
    assert refusal.errors == (FieldError("", rule),)
    assert (case.document is NO_DOCUMENT) is not read


@pytest.mark.parametrize(
    "schema",
    [
        {"items": {"type": "integer"}},
        {"prefixItems": [{"type": "integer"}]},
        {"contains": {"type": ["integer", "null"]}},
        {"items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}},
        {"items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}},
        {"items": {"allOf": [{"if": True, "then": {"type": "integer"}}]}},
        {"items": {"not": {"not": {"type": "string"}}}},
    ],
)
def test_an_integer_is_exact_wherever_a_schema_says_so(schema: dict[str, object]) -> None:
    compiled = BodySchema(schema)  # type: ignore[arg-type]
    assert compiled.errors([5.0]) != ()


def test_a_number_may_be_written_as_a_float_where_the_schema_says_number() -> None:
    assert BodySchema({"items": {"type": "number", "maximum": 5}}).errors([5.0, 5]) == ()
    assert BodySchema({"items": {"type": ["integer", "number"]}}).errors([5.0]) == ()
    assert BodySchema({"const": {"type": "integer"}}).errors({"type": "integer"}) == ()
    assert BodySchema({"properties": {"type": {"type": "integer"}}}).errors({"type": 5}) == ()


@pytest.mark.parametrize(
    "schema",
    [{"type": "strin"}, {"$ref": "https://evil.example/schema"}, {"pattern": "("}, {"format": "no-such-format"}],
)
def test_a_schema_that_cannot_be_enforced_is_an_error_when_it_is_compiled(schema: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a JSON Schema that can be enforced"):
        BodySchema(schema)  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(?=a)^(a+)+$", r"^(a*)*\1b", "^(a|a)*$"])
def test_no_pattern_hangs_and_what_takes_too_long_is_refused(pattern: str) -> None:
    assert BodySchema({"pattern": pattern}).errors("a" * 50_000 + "!") == (FieldError("", "pattern"),)


@pytest.mark.attack("A47")
@pytest.mark.parametrize("value", ["abc\n", "\u0663", "xabc"])
def test_a_pattern_means_the_whole_text_and_ascii_digits(value: str) -> None:
    assert BodySchema({"pattern": r"^(abc|\d)$"}).errors(value) != ()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "text/plain",
        "text/plain;application/json",
        "application/jsonx",
        "application/problem+json",
        "application/vnd.api+json",
        "multipart/form-data",
        "application/json;charset=utf-16",
        "application/json; charset=utf-8; x=y",
        "application/json,application/json",
        "application/json\n",
    ],
)
def test_only_json_in_utf_8_is_taken_for_json(value: str) -> None:
    refusal, _ = check(body=TEXT, headers={"content-type": value})
    assert refusal is not None
    assert (refusal.reason, refusal.status) == (Reason.CONTENT_TYPE_UNSUPPORTED, 415)


@pytest.mark.parametrize(
    "value",
    ["application/json", "Application/JSON", "application/json; charset=UTF-8", 'application/json;charset="utf-8"'],
)
def test_json_in_utf_8_has_these_names(value: str) -> None:
    assert check(body=TEXT, headers={"content-type": value})[0] is None


@pytest.mark.attack("A51")
@pytest.mark.parametrize("value", ["gzip", "br", "zstd", "deflate", "gzip,identity", "", "x"])
def test_an_encoded_body_is_not_unpacked(value: str) -> None:
    refusal, _ = check(body=TEXT, headers={**JSON, "content-encoding": value})
    assert refusal is not None
    assert (refusal.reason, refusal.status) == (Reason.CONTENT_ENCODING_UNSUPPORTED, 415)


@pytest.mark.parametrize("body", [b"{", b'{"a":1,"a":2}', b"NaN", b"\xff", b"[" * 40 + b"]" * 40])
def test_a_body_that_is_not_json_is_refused_before_its_schema(body: bytes) -> None:
    refusal, _ = check(body=body, headers=JSON)
    assert refusal is not None
    assert (refusal.reason, refusal.status) == (Reason.BODY_MALFORMED, 400)
    assert refusal.errors[0].pointer == ""


@pytest.mark.attack("A49")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, Reason.BODY_MISSING),
        ({"headers": {"content-length": "5"}}, Reason.BODY_MISSING),
        ({"headers": {"transfer-encoding": "chunked"}}, Reason.BODY_MISSING),
        ({"size": 10}, Reason.BODY_MISSING),
        ({"body": TEXT, "headers": {**JSON, "upgrade": "websocket"}}, Reason.BODY_MISSING),
        ({"body": TEXT, "headers": {**JSON, "x-envoy-auth-partial-body": "true"}}, Reason.BODY_TOO_LARGE),
        ({"body": TEXT, "headers": {**JSON, "x-envoy-auth-partial-body": "true,false"}}, Reason.BODY_TOO_LARGE),
        ({"body": TEXT, "headers": JSON, "size": len(TEXT) + 1}, Reason.BODY_TOO_LARGE),
        ({"body": b'"' + b"x" * 65_536 + b'"', "headers": JSON}, Reason.BODY_TOO_LARGE),
        ({"body": TEXT, "headers": JSON, "size": 70_000}, Reason.BODY_TOO_LARGE),
    ],
)
def test_a_body_that_is_not_all_there_is_never_judged_by_its_beginning(
    changes: dict[str, object], reason: Reason
) -> None:
    refusal, case = check(**changes)
    assert refusal is not None
    assert refusal.reason is reason
    assert case.document is NO_DOCUMENT


def test_a_whole_body_passes_with_what_envoy_says_about_it() -> None:
    headers = {**JSON, "x-envoy-auth-partial-body": "false", "content-length": str(len(TEXT))}
    assert check(body=TEXT, headers=headers)[0] is None
    assert check(body=TEXT, headers=headers, size=-1)[0] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"body": b"x"},
        {"headers": {"content-length": "1"}},
        {"headers": {"transfer-encoding": "chunked"}},
        {"size": 1},
    ],
)
def test_a_request_that_reads_has_no_body(changes: dict[str, object]) -> None:
    refusal, _ = check(method="GET", **changes)
    assert refusal is not None
    assert refusal.reason is Reason.BODY_NOT_ALLOWED
    assert check(method="GET", headers={"content-length": "0"})[0] is None


@pytest.mark.parametrize("route", ["plain", "docs"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"headers": {"content-length": "65536"}}, None),
        ({"headers": {"content-length": "65537"}}, Reason.BODY_TOO_LARGE),
        ({"headers": {"content-length": "9" * 18}}, Reason.BODY_TOO_LARGE),
        ({"size": 65_536}, None),
        ({"size": 65_537}, Reason.BODY_TOO_LARGE),
        ({"size": -1}, None),
        ({"headers": {"content-length": "9" * 19}}, Reason.HEADER_INVALID),
        ({"headers": {"content-length": "-1"}}, Reason.HEADER_INVALID),
        ({"headers": {"content-length": "1, 1"}}, Reason.HEADER_INVALID),
        ({"headers": {"content-length": "\u0661"}}, Reason.HEADER_INVALID),
        ({"headers": {"content-length": ""}}, Reason.HEADER_INVALID),
    ],
)
def test_a_body_that_is_not_looked_at_is_not_announced_as_too_long_either(
    route: str, changes: dict[str, object], reason: Reason | None
) -> None:
    refusal, _ = check(route, **changes)
    assert (None if refusal is None else refusal.reason) is reason


def test_where_no_schema_is_named_the_body_is_the_services_business() -> None:
    refusal, case = check("plain", body=b"\xff\x00", headers={"content-type": "image/png"})
    assert refusal is None
    assert case.document is NO_DOCUMENT
