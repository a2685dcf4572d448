"""The rate matrix of the six gateways, as it is enforced, and what a policy can say beyond it."""

from pathlib import Path

import pytest

from policy.limits import Limit
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Period, SlidingWindow
from ratelimit.policy_limits import compile_limits
from ratelimit.request import Unit
from ratelimit.rules import Headers, Rule

GATEWAYS = Path(__file__).resolve().parents[3] / "envoy" / "gateways"
SECOND = 1_000_000
MINUTE = 60 * SECOND


def gateway(name: str) -> Gateway:
    path = GATEWAYS / f"{name}.yaml"
    return load_gateway(Gateway, Source(path.name, path.read_text("utf-8"))).gateway


def with_limit(**fields: object) -> Gateway:
    limit = Limit.model_validate({"description": "x", **fields})
    return gateway("marketing").model_copy(update={"limits": {"one": limit}})


def rule(of: Gateway, limit: str, **subject: str) -> Rule | None:
    return compile_limits(of).root.match((("limit", limit), *subject.items()))


def burst(amount: int) -> Gcra:
    return Gcra(amount, MINUTE, 10 * SECOND)


@pytest.mark.requirement("R69")
@pytest.mark.parametrize(
    ("name", "limit", "figures"),
    [
        ("central", "subject", {"free": 1000, "business": 5000, "enterprise": 5000, "internal": 100_000}),
        ("platform", "requests", {"internal": 100}),
        ("platform", "admin", {"internal": 50}),
        ("marketing", "requests", {"free": 100, "business": 500, "enterprise": 500}),
        ("education", "requests", {"free": 200, "business": 1000, "enterprise": 1000}),
        ("sales", "requests", {"free": 50, "business": 200, "enterprise": 200}),
        ("agents", "requests", {"internal": 10_000}),
    ],
)
def test_the_rate_matrix_is_what_the_policies_say(name: str, limit: str, figures: dict[str, int]) -> None:
    for tier in ("free", "business", "enterprise", "internal"):
        found = rule(gateway(name), limit, tier=tier, caller="sub:jane")
        assert found is not None
        # A cell without a figure is a denial (R70), and so is a tier that authz did not name.
        assert found.limit == (burst(figures[tier]) if tier in figures else FixedWindow(0, MINUTE))


@pytest.mark.requirement("R42", "R43")
def test_marketing_has_a_day_of_ten_for_the_free_tier_alone() -> None:
    free = rule(gateway("marketing"), "day", tier="free", caller="sub:jane")
    assert free is not None
    assert free.limit == CalendarQuota(10, Period.DAY, "UTC")
    assert (free.unit, free.code) == (Unit.DAY, "daily_limit_reached")
    assert free.refusal == "Daily limit reached (upgrade to Business)"
    for tier in ("business", "enterprise"):
        unlimited = rule(gateway("marketing"), "day", tier=tier, caller="sub:jane")
        assert unlimited is not None
        assert unlimited.limit is None


@pytest.mark.requirement("R70")
@pytest.mark.parametrize("subject", [{"tier": "unknown", "caller": "sub:jane"}, {"tier": "free", "caller": "unknown"}])
def test_who_is_not_known_is_refused(subject: dict[str, str]) -> None:
    found = rule(gateway("marketing"), "requests", **subject)
    assert found is not None
    assert found.limit == FixedWindow(0, MINUTE)


@pytest.mark.requirement("R11")
def test_central_has_a_ceiling_for_the_whole_fleet_and_limits_addresses_where_nobody_is_asked() -> None:
    fleet = rule(gateway("central"), "fleet")
    address = rule(gateway("central"), "address", address="192.0.2.1")
    assert fleet is not None
    assert address is not None
    assert (fleet.limit, address.limit) == (burst(100_000), burst(1000))


@pytest.mark.requirement("R104")
@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:DB8:0:1:0::9", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::1", "0.0.0.1", False),
        ("unknown", "::", False),
    ],
)
def test_an_address_counts_with_its_network(one: str, other: str, together: bool) -> None:
    found = rule(gateway("central"), "address", address=one)
    assert found is not None
    subjects = {found.subject((("limit", "address"), ("address", each))) for each in (one, other)}
    assert (len(subjects) == 1) is together


def test_a_tenant_with_a_figure_of_its_own_has_that_one() -> None:
    own = with_limit(tiers={"enterprise": "business", "business": 500}, tenants={"acme": 7777}, burst={})
    acme = rule(own, "one", tier="enterprise", caller="tenant:acme")
    other = rule(own, "one", tier="enterprise", caller="tenant:other")
    # A subject that is spelt like the tenant is not the tenant.
    subject = rule(own, "one", tier="enterprise", caller="sub:acme")
    assert acme is not None
    assert other is not None
    assert subject is not None
    assert (acme.limit, other.limit, subject.limit) == (burst(7777), burst(500), burst(500))


def test_a_partner_with_a_figure_of_its_own_has_that_one_and_a_tenant_of_its_name_has_not() -> None:
    own = with_limit(tiers={"enterprise": "business", "business": 500}, partners={"acme": 7777}, burst={})
    found = {
        caller: rule(own, "one", tier="enterprise", caller=caller)
        for caller in ("partner:acme", "partner:other", "tenant:acme", "sub:acme")
    }
    limits = {caller: None if each is None else each.limit for caller, each in found.items()}
    assert limits.pop("partner:acme") == burst(7777)
    assert set(limits.values()) == {burst(500)}


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"requests": 9}, FixedWindow(9, MINUTE)),
        ({"requests": 9, "burst": {"rate": 3, "seconds": 5}}, Gcra(9, MINUTE, 10 * SECOND)),
        ({"requests": 9, "algorithm": "gcra"}, Gcra(9, MINUTE, 10 * SECOND)),
        ({"requests": 9, "algorithm": "sliding_window", "unit": "hour"}, SlidingWindow(9, 3600 * SECOND)),
        ({"requests": 9, "algorithm": "fixed_window", "unit": "day"}, FixedWindow(9, 86_400 * SECOND)),
        ({"requests": 9, "unit": "week"}, CalendarQuota(9, Period.WEEK)),
        (
            {"requests": 9, "unit": "month", "time_zone": "Asia/Kolkata"},
            CalendarQuota(9, Period.MONTH, "Asia/Kolkata"),
        ),
        ({"requests": 1_000_000_000, "burst": {"rate": 100, "seconds": 3600}}, Gcra(10**9, MINUTE, 356_400 * SECOND)),
    ],
)
def test_the_algorithm_is_the_one_written_or_the_one_that_fits(fields: dict[str, object], limit: object) -> None:
    found = rule(with_limit(**fields), "one", caller="sub:jane")
    assert found is not None
    assert found.limit == limit


def test_a_limit_says_how_it_fails_and_whether_it_is_only_watched() -> None:
    closed = rule(with_limit(requests=1), "one", caller="sub:jane")
    lenient = rule(with_limit(requests=1, on_store_failure="open", shadow=True), "one", caller="sub:jane")
    assert closed is not None
    assert lenient is not None
    assert (closed.fails_open, closed.shadow) == (False, False)
    assert (lenient.fails_open, lenient.shadow) == (True, True)


def test_headers_are_sent_as_the_gateway_says() -> None:
    assert compile_limits(gateway("marketing")).headers is Headers.ALWAYS
    assert compile_limits(gateway("central")).headers is Headers.REFUSAL


@pytest.mark.requirement("R70")
@pytest.mark.parametrize(
    "entries",
    [
        (),
        (("limit", "other"),),
        (("limit", "other"), ("tier", "free"), ("caller", "sub:jane")),
        (("limit", "requests"),),
        (("limit", "requests"), ("tier", "free")),
        (("limit", "requests"), ("tier", "unknown")),
        (("limit", "requests"), ("caller", "sub:jane")),
        (("limit", "requests"), ("tier", "free"), ("caller", "sub:jane"), ("more", "x")),
        (("tier", "free"), ("limit", "requests"), ("caller", "sub:jane")),
    ],
)
def test_a_descriptor_that_no_limit_of_the_policy_fits_is_refused(entries: tuple[tuple[str, str], ...]) -> None:
    found = compile_limits(gateway("marketing")).match(entries)
    assert found is not None
    assert (found.limit, found.code) == (FixedWindow(0, MINUTE), "rate_limited")
    assert (found.fails_open, found.shadow) == (False, False)


def test_the_domain_is_the_gateway() -> None:
    assert compile_limits(gateway("marketing")).domain == "marketing"
