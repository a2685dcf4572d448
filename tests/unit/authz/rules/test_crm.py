"""CRM records: a known system, an id of its form, the caller's own connection; and URLs that lead outside (SSRF)."""

import pytest

from authz.checks.rules.crm import has_form
from authz.checks.rules.hosts import leads_outside
from authz.principal import Kind, Principal
from authz.reasons import Reason
from policy.rules import Crm
from tests.unit.authz.rules.judge import judge, places

RULE = {
    "type": "crm",
    "integrations": {
        "ours": {"crm": "hubspot", "tenant": "acme"},
        "ours-too": {"crm": "salesforce", "tenant": "acme"},
        "theirs": {"crm": "hubspot", "tenant": "beta"},
        "partners": {"crm": "hubspot", "tenant": "partner:acme"},
    },
    "urls": ["/website", "/links/*/url"],
}
ACME = Principal(Kind.TOKEN, subject="company_1", role="company", tenant="acme")
RECORD = {"crm": "hubspot", "external_id": "12345", "integration": "ours"}


@pytest.mark.requirement("R57")
@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({}, None),
        ({"crm": "salesforce", "external_id": "001D000000IRFma", "integration": "ours-too"}, None),
        ({"crm": "salesforce", "integration": "ours-too"}, "external_id"),
        ({"crm": "sap"}, "system"),
        ({"crm": "HubSpot"}, "system"),
        ({"crm": None}, "system"),
        ({"crm": 1}, "system"),
        ({"crm": ["hubspot"]}, "system"),
        ({"external_id": "0123"}, "external_id"),
        ({"external_id": "12345'; DROP TABLE"}, "external_id"),
        ({"external_id": "../12345"}, "external_id"),
        ({"external_id": 12345}, "external_id"),
        ({"external_id": None}, "external_id"),
        ({"external_id": "١٢٣"}, "external_id"),
        ({"external_id": "12345\n"}, "external_id"),
        ({"integration": "theirs"}, "integration"),
        ({"integration": "nobodys"}, "integration"),
        ({"integration": "ours-too"}, "integration"),
        ({"integration": "partners"}, "integration"),
        ({"integration": None}, "integration"),
        ({"integration": 1}, "integration"),
    ],
)
def test_a_record_is_of_a_known_system_and_of_the_callers_connection(
    changes: dict[str, object], broken: str | None
) -> None:
    found = judge(RULE, {**RECORD, **changes}, caller=ACME)
    assert {rule for _, rule in places(found)} == (set() if broken is None else {broken})
    assert found is None or found.reason is Reason.CRM_INVALID


@pytest.mark.requirement("R57")
@pytest.mark.parametrize("field", ["crm", "external_id", "integration"])
def test_a_reference_is_whole_or_not_there(field: str) -> None:
    assert judge(RULE, {"name": "Acme"}, caller=ACME) is None
    assert judge(RULE, {name: value for name, value in RECORD.items() if name != field}, caller=ACME) is not None


@pytest.mark.requirement("R57")
@pytest.mark.parametrize(
    ("caller", "integration", "passes"),
    [
        (Principal(Kind.TOKEN, subject="x", tenant=""), "ours", False),
        (Principal(Kind.TOKEN, subject="acme", tenant="gamma"), "ours", False),
        (Principal(Kind.TOKEN, subject="x", tenant="beta"), "theirs", True),
        (Principal(Kind.KEY, partner="acme"), "partners", True),
        (Principal(Kind.KEY, partner="acme"), "ours", False),
        # A tenant cannot be named like a partner's.
        (Principal(Kind.TOKEN, subject="x", tenant="partner:acme"), "partners", False),
    ],
)
def test_only_the_owner_of_a_connection_uses_it(caller: Principal, integration: str, passes: bool) -> None:
    assert (judge(RULE, {**RECORD, "integration": integration}, caller=caller) is None) is passes


@pytest.mark.parametrize(
    ("crm", "record_id", "is_one"),
    [
        (Crm.SALESFORCE, "001D000000IRFma", True),
        (Crm.SALESFORCE, "001D000000IRFmaIAH", True),
        (Crm.SALESFORCE, "001D000000IRFmaIAA", False),
        (Crm.SALESFORCE, "001D000000IRFm", False),
        (Crm.HUBSPOT, "1", True),
        (Crm.HUBSPOT, "01", False),
        (Crm.HUBSPOT, "-1", False),
        (Crm.DYNAMICS, "00000000-0000-0000-0000-000000000001", True),
        (Crm.DYNAMICS, "{00000000-0000-0000-0000-000000000001}", False),
        (Crm.ZOHO, "4150868000000225013", True),
        (Crm.ZOHO, "123", False),
        (Crm.PIPEDRIVE, "4294967295", True),
        (Crm.PIPEDRIVE, "42949672950", False),
    ],
)
def test_each_system_has_ids_of_its_own_form(crm: Crm, record_id: str, is_one: bool) -> None:
    assert has_form(crm, record_id) is is_one


OUTSIDE = [
    "https://example.com",
    "http://example.com/path?query=1#part",
    "HTTPS://WWW.EXAMPLE.COM:8443/",
    "https://example.com.",
    "https://sub.domain.example.co.uk/a/b",
    "https://xn--bcher-kva.de/",
    "https://8.8.8.8/",
    "https://[2606:4700:4700::1111]/",
    "https://[::ffff:8.8.8.8]/",
    "https://localhost.example.com/",
    "https://10.example.com/",
    "https://ec2-8-8-8-8.compute.example.com/",
    "https://10-0-0.example.com/",
    "https://v1.2.3.example.com/",
    "https://my-local.host.io/",
]
INSIDE = [
    # In every spelling of 127.0.0.1.
    "http://127.0.0.1/",
    "http://127.0.0.1.",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0X7F.1/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://0177.0.0.1/",
    "http://0177.0.0.01/",
    "http://017700000001/",
    "http://127.0.0.0x1/",
    "http://127.255.255.254/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://[::]/",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
    "http://[ff02::1]/",
    "http://[fe80::1%25eth0]/",
    # Private, shared, reserved and the address of clouds' metadata.
    "http://0.0.0.0/",
    "http://0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    # Not an address, but no other host either.
    "http://256.1.1.1/",
    # Public as octal numbers, which is how browsers read them, and private as decimal ones (CVE-2021-29921).
    "http://010.010.010.010/",
    "http://0x8.8.8.8/",
    "http://134744072/",
    "http://10.0.0.1.example.com/",
    "http://1.10.0.0.1.example.com/",
    "http://www.127.0.0.1.traefik.me/",
    "http://app-169-254-169-254.wildcard.io/",
    "http://192-168-1-1.example.com/",
    "http://kubernetes.default.svc/",
    "http://vault.service.consul/",
    "http://[5f00::1]/",
    "http://[3fff::1]/",
    "http://1.2.3.4.5/",
    "http://4294967296/",
    "http://0x/",
    "http://08.8.8.8/",
    "http://99999999999999999999999999/",
    # Names.
    "http://localhost/",
    "http://LOCALHOST:8080/",
    "http://localhost./",
    "http://sub.localhost/",
    "http://printer.local/",
    "http://metadata.google.internal/",
    "http://intranet/",
    "http://wiki.corp/",
    "http://router.lan/",
    "http://router.home.arpa/",
    "http://127.0.0.1.nip.io/",
    "http://app.localtest.me/",
    "http://single/",
    "http://a..b/",
    "http://.example.com/",
    # URLs that two readers read differently.
    "http://example.com@127.0.0.1/",
    "http://user:password@example.com/",
    "http://example.com\\@127.0.0.1/",
    "http://127.0.0.1\\.example.com/",
    "http:/127.0.0.1/",
    "http:127.0.0.1",
    "//127.0.0.1/",
    "http://%31%32%37.0.0.1/",
    "http://１２７.0.0.1/",
    "http://①②⑦.0.0.1/",
    "http://127。0。0。1/",
    "http://ⓛocalhost/",
    "http://bücher.de/",
    "http://exa\tmple.com/",
    "http://example.com/\n",
    " http://example.com/",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:x/",
    "http://[::1",
    "http://",
    "http:///path",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "data:text/html,x",
    "example.com",
    "",
    "https://example.com/" + "a" * 2048,
]


@pytest.mark.requirement("R57")
@pytest.mark.parametrize("url", OUTSIDE)
def test_a_public_host_passes(url: str) -> None:
    assert leads_outside(url)


@pytest.mark.requirement("R57")
@pytest.mark.parametrize("url", INSIDE)
def test_a_private_address_is_refused_however_it_is_spelt(url: str) -> None:
    assert not leads_outside(url)


@pytest.mark.requirement("R57")
@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"website": "https://example.com"}, None),
        ({"website": None}, None),
        ({"website": "http://127.1/"}, ("/website", "url")),
        ({"website": 5}, ("/website", "url")),
        ({"website": ["https://example.com"]}, ("/website", "url")),
        ({"links": [{"url": "https://example.com"}, {"url": "http://[::1]/"}]}, ("/links/1/url", "url")),
    ],
)
def test_every_field_with_a_url_is_looked_at(body: object, place: tuple[str, str] | None) -> None:
    assert places(judge(RULE, body, caller=ACME)) == (set() if place is None else {place})
