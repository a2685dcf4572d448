"""Each check by itself: a table of what passes and what does not."""

from collections.abc import Callable

import pytest

from authz.case import Case
from authz.checks.callers import check_callers
from authz.checks.methods import check_method
from authz.checks.network import check_network
from authz.checks.scopes import check_scopes
from authz.checks.sender import check_sender
from authz.checks.target import check_target, is_normal_path
from authz.checks.tier import check_tier
from authz.decision import Refusal
from authz.principal import NOBODY, Kind, Principal
from authz.reasons import Reason
from tests.unit.authz.world import AGENTS, MESSAGE, NOW, facts, request, rules

RULES = rules()


def case(route: str = "content", principal: Principal = NOBODY, **changes: object) -> Case:
    asked = request(route, **changes)  # type: ignore[arg-type]
    known = AGENTS if route in AGENTS.routes else RULES
    made = Case(asked, known, known.routes[route], facts(), NOW, principal=principal)
    made.method = made.route.methods.get(asked.method)
    return made


def outcome(check: Callable[[Case], Refusal | None], checked: Case) -> Reason | None:
    refusal = check(checked)
    return None if refusal is None else refusal.reason


NORMAL = [
    "/",
    "/api/marketing/content",
    "/api/marketing/content/",
    "/api/openapi.json",
    "/api/a.b.c/d",
    "/api/x%20y",
    "/api/caf%C3%A9",
    "/api/a,b:c@d=e&f$g*h(i)'j",
    "/api/~user",
]
TREACHEROUS = [
    "",
    "*",
    "api",
    "//api",
    "/api//platform",
    "/api/platform//",
    "/api/./platform",
    "/api/marketing/../platform/admin",
    "/api/marketing/..",
    "/api/marketing/%2e%2e/platform",
    "/api/marketing/%2E%2E/platform",
    "/api/marketing/.%2e/platform",
    "/api/marketing%2fcontent",
    "/api/marketing%5ccontent",
    "/api\\platform",
    "/api/platform;x/admin",
    "/api/marketing/..;/platform",
    "/api/marketing/%3b/x",
    "/api/platform/admin.",
    "/api/platform/admin%20",
    "/api/platform/admin ",
    "/api/platform/admin%00",
    "/api/platform/%00admin",
    "/api/marketing/%252e%252e/platform",
    "/api/marketing/%25",
    "/api/platform/%61dmin",
    "/api/platform/%41dmin",
    "/api/platform/admin%2d",
    "/api/platform/admi%6E",
    "/api/platform/v%31",
    "/api/platform/%7euser",
    "/api/platform/a%5Fb",
    "/api/marketing/%",
    "/api/marketing/%zz",
    "/api/marketing/%c0%af",
    "/api/marketing/%ff",
    "/api/marketing/%ed%a0%80",
    "/api/marketing/%0d%0ax",
    "/api/marketing/%7f",
    "/api/marketing/%c2%85",
    "/api/marketing/a#b",
    "/api/marketing/a%23b",
    "/api/marketing/%3fa",
    "/api/marketing/caf\u00e9",
    "/api/marketing/a\tb",
    "/api/marketing/...",
    "/api/marketing/..x",
    "/api/marketing/ x",
    '/api/marketing/"x"',
    "/api/marketing/<x>",
    "/" + "a" * 9000,
]


@pytest.mark.parametrize("path", NORMAL)
def test_a_path_that_all_read_alike_is_normal(path: str) -> None:
    assert is_normal_path(path)


@pytest.mark.attack("A31", "A34")
@pytest.mark.parametrize("path", TREACHEROUS)
def test_a_path_that_someone_could_read_otherwise_is_not(path: str) -> None:
    assert not is_normal_path(path)
    assert outcome(check_target, case(path=path)) is Reason.PATH_INVALID


@pytest.mark.parametrize(
    ("route", "path", "serves"),
    [
        ("content", "/api/marketing/content", True),
        ("content", "/api/marketing/content/1", True),
        ("content", "/api/marketing/content/", True),
        ("content", "/api/marketing/contents", False),
        ("content", "/api/marketing", False),
        ("content", "/api/marketing/Content", False),
        ("content", "/api/platform/admin", False),
        ("exact", "/api/marketing/exact", True),
        ("exact", "/api/marketing/exact/", False),
        ("exact", "/api/marketing/exact/1", False),
    ],
)
def test_a_route_decides_its_own_paths_alone(route: str, path: str, serves: bool) -> None:
    assert outcome(check_target, case(route, path=path)) is (None if serves else Reason.ROUTE_MISMATCH)


def test_a_path_with_a_possibly_hidden_octet_is_refused_unless_it_came_raw() -> None:
    path = "/api/marketing/content/hi!"
    assert outcome(check_target, case(path=path)) is Reason.PATH_INVALID
    assert outcome(check_target, case(path=path, exact=True)) is None


@pytest.mark.parametrize(
    ("authority", "admitted"),
    [
        ("api.example.com", True),
        ("API.example.com:8443", True),
        ("localhost", True),
        ("192.0.2.1:80", True),
        ("[2001:db8::1]", True),
        ("[::1]:8443", True),
        ("[::ffff:192.0.2.1]:1", True),
        ("[192.0.2.1]", True),
        ("", False),
        (":443", False),
        ("a,b", False),
        ("a b", False),
        ("a ", False),
        ("a\n", False),
        ('a"', False),
        ("user@api.example.com", False),
        ("user:1@api.example.com", False),
        ("api.example.com:", False),
        ("api.example.com:123456", False),
        ("api.example.com:x", False),
        ("api.example.com:\u0661", False),
        ("api.example.com/x", False),
        ("api.example.com?x", False),
        ("caf\u00e9.example.com", False),
        ("a_b.example.com", False),
        ("::1", False),
        ("[::1", False),
        ("[]", False),
        ("[::1%eth0]", False),
        ("[::g]", False),
        ("[1:2]", False),
        ("a" * 261, True),
        ("a" * 262, False),
    ],
)
def test_an_authority_is_one_host_and_perhaps_a_port(authority: str, admitted: bool) -> None:
    assert outcome(check_target, case(authority=authority)) is (None if admitted else Reason.HEADER_INVALID)


@pytest.mark.parametrize(
    ("query", "admitted"),
    [
        ("", True),
        ("a=" + "b" * 8190, True),
        ("a=" + "b" * 8191, False),
        ("&".join(["a=1"] * 256), True),
        ("&".join(["a=1"] * 257), False),
        ("&;" * 127 + "&", True),
        ("&;" * 128, False),
    ],
)
@pytest.mark.parametrize("route", ["content", "docs"])
def test_a_query_is_bounded_in_length_and_in_parameters(route: str, query: str, admitted: bool) -> None:
    found = outcome(check_target, case(route, path=f"/api/marketing/{route}?{query}"))
    assert found is (None if admitted else Reason.QUERY_INVALID)


@pytest.mark.attack("A45")
@pytest.mark.requirement("R13", "R35", "R64", "R75")
@pytest.mark.parametrize(
    ("route", "listener", "address", "admitted"),
    [
        ("content", "mesh", "192.0.2.7", True),
        ("content", "mesh", None, True),
        ("office", "mesh", "192.0.2.7", True),
        ("office", "mesh", "198.51.100.1", False),
        ("office", "mesh", None, False),
        ("office", "mesh", "", False),
        ("office", "mesh", "192.0.2.7, 198.51.100.1", False),
        ("office", "mesh", "192.0.2.7:443", False),
        ("office", "mesh", "::ffff:192.0.2.7", True),
        ("office", "mesh", "192.0.2.07", False),
        ("office", "mesh", "0xc0000207", False),
        ("office", "mesh", "3221225991", False),
        ("content", "inner", "10.1.2.3", True),
        ("content", "inner", "fd00::1", True),
        ("content", "inner", "fe80::1%eth0", False),
        ("content", "inner", "192.0.2.7", False),
        ("content", "inner", None, False),
        ("office", "inner", "10.1.2.3", False),
        ("nobody", "mesh", "192.0.2.7", False),
        ("nobody", "inner", "10.1.2.3", False),
    ],
)
def test_both_allow_lists_must_hold_and_an_empty_one_holds_nobody(
    route: str, listener: str, address: str | None, admitted: bool
) -> None:
    found = outcome(check_network, case(route, listener=listener, address=address))
    assert found is (None if admitted else Reason.ADDRESS_NOT_ALLOWED)


@pytest.mark.requirement("R13", "R35")
@pytest.mark.parametrize(
    "header", ["x-forwarded-for", "x-real-ip", "forwarded", "true-client-ip", "cf-connecting-ip", "x-client-ip"]
)
def test_no_other_header_says_where_a_client_is(header: str) -> None:
    spoofed = case("office", address="198.51.100.1", headers={header: "192.0.2.7"})
    assert outcome(check_network, spoofed) is Reason.ADDRESS_NOT_ALLOWED


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "post", "", "X"])
def test_a_method_that_the_route_does_not_serve_is_told_which_it_does(method: str) -> None:
    refusal = check_method(case(method=method))
    assert refusal is not None
    assert (refusal.reason, refusal.status, refusal.allow) == (Reason.METHOD_NOT_ALLOWED, 405, "GET, POST")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_method_that_the_route_serves_passes(method: str) -> None:
    assert outcome(check_method, case(method=method)) is None


def caller(role: str = "customer", issuer: str = "customer", *scopes: str, tier: str = "business") -> Principal:
    return Principal(Kind.TOKEN, "u", role, tier, frozenset(scopes), issuer=issuer)


def partner(*scopes: str, name: str = "acme") -> Principal:
    return Principal(Kind.KEY, "p", "partner", "business", frozenset(scopes), partner=name)


AGENT = Principal(Kind.SIGNATURE, "content", "agent", "internal", agent="content")


@pytest.mark.requirement("R2", "R33", "R38", "R68", "R75")
@pytest.mark.parametrize(
    ("route", "principal", "admitted"),
    [
        ("content", caller(), True),
        ("content", caller("admin"), False),
        ("content", caller("Customer"), False),
        ("content", caller("student"), False),
        ("content", caller("customer", "admin"), False),
        ("content", caller("admin", "admin"), False),
        ("content", caller("partner"), False),
        ("content", partner(), True),
        ("content", AGENT, False),
        ("content", NOBODY, False),
        ("admin", caller("admin", "admin"), True),
        ("admin", caller("admin", "customer"), False),
        ("admin", caller("customer", "customer"), False),
        ("admin", partner(), False),
        ("vision", AGENT, True),
        ("vision", caller("agent"), False),
        ("docs", NOBODY, True),
    ],
)
def test_a_gateway_admits_the_callers_that_its_policy_names(route: str, principal: Principal, admitted: bool) -> None:
    refusal = check_callers(case(route, principal))
    assert (refusal is None) is admitted
    if refusal is not None:
        assert refusal.reason is Reason.CALLER_NOT_ADMITTED
        assert refusal.sentence in {"Marketing is for customers", "Admin access required", "Only agents call agents"}


@pytest.mark.requirement("R38", "R46", "R53", "R97")
@pytest.mark.parametrize(
    ("principal", "method", "granted"),
    [
        (caller("customer", "customer", "marketing:read"), "GET", True),
        (caller("customer", "customer", "marketing:read"), "POST", False),
        (caller("customer", "customer", "marketing:write"), "POST", True),
        (caller("customer", "customer", "marketing:write"), "GET", False),
        (caller("customer", "customer", "marketing:*"), "GET", True),
        (caller("customer", "customer", "marketing:*"), "POST", True),
        (caller("customer", "customer", "sales:*", "*", "*:*", "marketing", "marketing:"), "GET", False),
        (caller("customer", "customer", "Marketing:read"), "GET", False),
        (caller("customer", "customer", "partner:acme:marketing:*"), "GET", False),
        (caller(), "GET", False),
        (partner("partner:acme:marketing:read"), "GET", True),
        (partner("partner:acme:marketing:read"), "POST", False),
        (partner("partner:acme:marketing:*"), "POST", True),
        (partner("partner:acme:sales:read"), "GET", False),
        (partner("partner:beta:marketing:read"), "GET", False),
        (partner("marketing:read", "marketing:*"), "GET", False),
        (partner("partner:acme:*", "partner:*:marketing:read"), "GET", False),
        (AGENT, "GET", False),
    ],
)
def test_a_method_needs_its_scope_in_this_namespace_and_for_this_partner(
    principal: Principal, method: str, granted: bool
) -> None:
    refusal = check_scopes(case(principal=principal, method=method))
    assert (refusal is None) is granted
    if refusal is not None:
        assert refusal.reason is Reason.INSUFFICIENT_SCOPE
        assert refusal.scope == ("marketing:read" if method == "GET" else "marketing:write")


def test_a_route_without_a_namespace_needs_no_scope() -> None:
    assert outcome(check_scopes, case("vision", AGENT)) is None
    assert outcome(check_scopes, case("docs")) is None


@pytest.mark.attack("A13")
@pytest.mark.requirement("R70", "R91")
@pytest.mark.parametrize(
    ("route", "tier", "reason"),
    [
        ("content", "free", None),
        ("content", "enterprise", None),
        ("content", "internal", Reason.TIER_NOT_ADMITTED),
        ("content", "", Reason.TIER_UNKNOWN),
        ("content", "Enterprise", Reason.TIER_UNKNOWN),
        ("content", "unlimited", Reason.TIER_UNKNOWN),
        ("content", "unknown", Reason.TIER_UNKNOWN),
        ("admin", "internal", None),
        ("admin", "free", Reason.TIER_NOT_ADMITTED),
        ("docs", "", None),
    ],
)
def test_a_tier_is_admitted_or_denied_and_never_unlimited(route: str, tier: str, reason: Reason | None) -> None:
    assert outcome(check_tier, case(route, caller(tier=tier))) is reason


@pytest.mark.requirement("R62")
@pytest.mark.parametrize(
    ("document", "same"),
    [
        (MESSAGE, True),
        ({**MESSAGE, "sender": "vision"}, False),
        ({**MESSAGE, "sender": ["content"]}, False),
        ({**MESSAGE, "sender": None}, False),
        ({}, False),
        ([], False),
        (None, False),
        ("content", False),
    ],
)
def test_the_sender_of_a_message_is_its_signer(document: object, same: bool) -> None:
    checked = case("vision", AGENT, path="/api/agents/vision")
    checked.document = document  # type: ignore[assignment]
    assert outcome(check_sender, checked) is (None if same else Reason.SENDER_MISMATCH)


def test_without_a_message_there_is_no_sender_to_compare() -> None:
    assert outcome(check_sender, case("vision", AGENT)) is None
