"""What else users of envoyproxy/ratelimit expect of the process: its options, its HTTP, its reloads, its health."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import grpc
import pytest
import trustme
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos import rls_pb2 as pb
from protos import rls_pb2_grpc as pb_grpc
from tests.contract.ratelimit.process import Served, free_port, get, served, within_one
from tests.contract.ratelimit.service import OK, OVER, descriptor, headers_of
from tests.contract.ratelimit.valkey import valkey

FILE = """\
domain: d
descriptors:
  - {key: one, rate_limit: {unit: hour, requests_per_unit: 1}, metadata: {backend: large, tier: {a: 1}}}
  - {key: two, rate_limit: {unit: hour, requests_per_unit: 2}, metadata: {backend: small, tier: {b: 2}}}
  - {key: quota1, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: quota2, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 2}}
  - {key: user, value: known*, value_to_metric: true, rate_limit: {unit: hour, requests_per_unit: 5}}
"""
HOUR = 3600


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rl-") as name:
        yield Path(name)


def config(place: Path, text: str = FILE, name: str = "config") -> Path:
    folder = place / name
    folder.mkdir()
    (folder / "file.yaml").write_text(text)
    return folder


def start(place: Path, *options: str, folder: Path | None = None) -> AbstractContextManager[Served]:
    return served(folder or config(place), "memory", place, *options)


def test_quotas_metrics_and_the_http_endpoints_are_there_without_an_option(place: Path) -> None:
    with start(place) as it:

        def test() -> None:
            quotas = descriptor(("quota1", it.fresh())), descriptor(("quota2", it.fresh()))
            answers = [it.ask(*quotas, domain="d") for _ in range(3)]
            assert [answer.overall_code for answer in answers] == [OK, OK, OVER]
            assert [status.code for status in answers[1].statuses] == [OVER, OK]
            assert [it.ask(quotas[0], domain="d").overall_code] == [OVER]

            body = {"domain": "d", "descriptors": [{"entries": [{"key": "one", "value": it.fresh()}]}]}
            asked = json.dumps(body).encode()
            status, first = get(it.http_url + "/json", asked)
            assert (status, json.loads(first)["overallCode"]) == (200, "OK")
            status, second = get(it.http_url + "/json", asked)
            limit = json.loads(second)["statuses"][0]["currentLimit"]
            assert (status, limit) == (429, {"requestsPerUnit": 1, "unit": "HOUR", "name": "one"})

        within_one(HOUR, test)
        assert [get(it.http_url + "/json", body)[0] for body in (b"{", b'{"domain": "d"}', b"[" * 70_000)] == [
            400,
            400,
            413,
        ]
        assert get(it.http_url + "/healthcheck") == (200, b"OK\n")
        assert "d.quota1: 1 per hour quota_mode" in get(it.http_url + "/rlconfig")[1].decode().splitlines()
        assert get(it.http_url + "/json")[0] == 405
        assert headers_of(it.ask(descriptor(("one", it.fresh())), domain="d")) == {}

        health = health_pb2_grpc.HealthStub(it.channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

        it.ask(descriptor(("user", "known1")), domain="d")
        labels = {"domain": "d", "limit": "user_known1", "outcome": "admitted"}
        assert it.metric("apibank_ratelimit_decisions_total", **labels) == 1


def test_options_name_headers_merge_domains_and_answer_with_metadata(place: Path) -> None:
    folder = config(place)
    (folder / "more.yml").write_text("domain: d\ndescriptors: [{key: more, rate_limit: {unit: day}}]\n")
    names = ["--limit-header", "RateLimit-Limit", "--remaining-header", "Left", "--reset-header", "RateLimit-Reset"]
    options = ["--merge-domains", "--headers", "always", "--metadata", *names]
    with start(place, *options, folder=folder) as it:

        def test() -> None:
            one, two = descriptor(("one", it.fresh())), descriptor(("two", it.fresh()))
            first, second = (it.ask(one, two, domain="d") for _ in range(2))
            headers = headers_of(first)
            assert (headers["RateLimit-Limit"], headers["Left"]) == ("1", "0")
            assert 0 < int(headers["RateLimit-Reset"]) <= HOUR
            assert not any(name.startswith("X-RateLimit") for name in headers)
            told = json_format.MessageToDict(first.dynamic_metadata)
            assert told == {"domain": "d", "metadata": {"backend": "large", "tier": {"a": 1, "b": 2}}}
            # The first is exceeded now: its backend is not for this request.
            told = json_format.MessageToDict(second.dynamic_metadata)
            assert told["metadata"] == {"backend": "small", "tier": {"b": 2}}

        within_one(HOUR, test)
        assert it.ask(descriptor(("more", it.fresh())), domain="d").overall_code == OVER


COSTS = """\
domain: d
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 10}}
  - {key: company, rate_limit: {unit: hour, requests_per_unit: 100}}
"""


@pytest.mark.parametrize("store", ["memory", "valkey"])
@pytest.mark.parametrize("overrun", [False, True])
def test_a_cost_that_is_known_late_uses_up_the_budget_only_where_it_is_told_to(
    place: Path, store: str, overrun: bool
) -> None:
    """As Envoy asks by `apply_on_stream_done`: before the request for nothing, afterwards for all it has cost."""
    with valkey() as (url, _):
        folder = config(place, COSTS)
        options = ["--overrun"] if overrun else []
        with served(folder, "memory" if store == "memory" else url, place, *options) as it:

            def test() -> None:
                names = [("user", it.fresh()), ("company", it.fresh())]

                def asked(hits: int) -> tuple[int, list[int]]:
                    answer = it.ask(*(descriptor(name, hits=hits) for name in names), domain="d")
                    return answer.overall_code, [status.limit_remaining for status in answer.statuses]

                assert asked(0) == (OK, [10, 100])
                assert asked(7) == (OK, [3, 93])
                assert asked(0)[0] == OK
                assert asked(8) == (OVER, [3, 93])
                assert asked(0) == ((OVER, [0, 85]) if overrun else (OK, [3, 93]))
                # One hit that does not fit has cost nothing.
                assert asked(1)[0] == (OVER if overrun else OK)

            within_one(HOUR, test)


def test_in_shadow_everything_is_counted_and_nothing_refused(place: Path) -> None:
    with start(place, "--shadow") as it:
        assert it.codes(descriptor(("one", it.fresh())), times=3, domain="d") == [OK] * 3
        labels = {"domain": "d", "limit": "one", "outcome": "shadow_refused"}
        assert it.metric("apibank_ratelimit_decisions_total", **labels) == 2


def turned(link: Path, target: Path) -> None:
    """Turn a link as releases and ConfigMaps do: in one step."""
    new = link.with_name("new")
    new.symlink_to(target)
    new.replace(link)


@pytest.mark.parametrize("linked", ["the folder", "a folder above it", "its files"])
def test_a_link_that_is_turned_to_other_files_is_followed(place: Path, linked: str) -> None:
    texts = {name: FILE.replace("domain: d", f"domain: {name}") for name in ("old", "new")}
    releases = {name: place / f"release-{name}" / "config" for name in texts}
    for name, folder in releases.items():
        folder.parent.mkdir()
        config(folder.parent, texts[name])
    if linked == "its files":
        # As Kubernetes mounts a ConfigMap: file -> ..data/file, ..data -> a folder with a time in its name.
        folder, link = place / "mounted", place / "mounted" / "..data"
        folder.mkdir()
        (folder / "file.yaml").symlink_to("..data/file.yaml")
    else:
        link = place / "current"
        folder = link if linked == "the folder" else link / "config"
    targets = {name: folder.parent if linked == "a folder above it" else folder for name, folder in releases.items()}
    link.symlink_to(targets["old"])
    with start(place, folder=folder) as it:
        assert it.ask(descriptor(("one", it.fresh())), domain="old").statuses[0].HasField("current_limit")
        it.loaded(lambda: turned(link, targets["new"]))
        assert not it.ask(descriptor(("one", it.fresh())), domain="old").statuses[0].HasField("current_limit")
        assert it.ask(descriptor(("one", it.fresh())), domain="new").statuses[0].HasField("current_limit")


def test_a_folder_that_goes_away_leaves_its_rules_in_force_until_it_is_back(place: Path) -> None:
    folder = config(place)
    with start(place, folder=folder) as it:
        it.loaded(lambda: folder.rename(place / "away"), outcome="failed")
        assert it.ask(descriptor(("one", it.fresh())), domain="d").statuses[0].HasField("current_limit")
        it.loaded(lambda: (place / "away").rename(folder))


def asked_over_tls(target: str, roots: trustme.CA, mine: trustme.LeafCert | None) -> grpc.StatusCode | None:
    """How a call over a new connection ends; None: with an answer."""
    own = () if mine is None else (mine.private_key_pem.bytes(), mine.cert_chain_pems[0].bytes())
    credentials = grpc.ssl_channel_credentials(roots.cert_pem.bytes(), *own)
    # A pool of its own: otherwise a connection from before would be used again.
    with grpc.secure_channel(target, credentials, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        request = pb.RateLimitRequest(domain="d", descriptors=[descriptor(("x", "y"))])
        try:
            pb_grpc.RateLimitServiceStub(channel).ShouldRateLimit(request, timeout=10)
        except grpc.RpcError as error:
            return error.code()
    return None


def test_tls_demands_the_callers_certificate_and_renews_its_own_while_it_runs(place: Path) -> None:
    old, new, callers = trustme.CA(), trustme.CA(), trustme.CA()
    mine = callers.issue_cert("envoy")
    chain, key, authority = place / "chain.pem", place / "key.pem", place / "authority.pem"
    callers.cert_pem.write_to_path(authority)

    def install(issuer: trustme.CA) -> None:
        leaf = issuer.issue_cert("127.0.0.1")
        leaf.private_key_pem.write_to_path(key)
        leaf.cert_chain_pems[0].write_to_path(chain)

    install(old)
    options = ["--tls-certificate", str(chain), "--tls-key", str(key), "--tls-authority", str(authority)]
    with served(config(place), "memory", place, *options, port=free_port()) as it:
        assert asked_over_tls(it.target, old, mine) is None
        assert asked_over_tls(it.target, old, None) is grpc.StatusCode.UNAVAILABLE
        key.write_text("nonsense")
        assert asked_over_tls(it.target, old, mine) is None
        install(new)
        assert asked_over_tls(it.target, new, mine) is None
        assert asked_over_tls(it.target, old, mine) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(("text", "code"), [(FILE, 0), ("domain: ''", 1)])
def test_files_can_be_checked_without_serving_them(place: Path, text: str, code: int) -> None:
    command = [sys.executable, "-m", "apibank", "serve", "ratelimit", "--config", str(config(place, text)), "--check"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == code, run.stderr
    assert ("d.one: 1 per hour\n" if code == 0 else "file.yaml:1:9: domain") in run.stdout


def test_a_folder_that_was_mistyped_is_told_of_when_it_is_checked(place: Path) -> None:
    command = [sys.executable, "-m", "apibank", "serve", "ratelimit", "--config", str(place), "--check"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert "nothing would be limited" in run.stderr


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("domain: d\ndescriptors: [{key: ''}]\n", [], "file.yaml:2"),
        (FILE, ["--reset-header", "no name"], "'no name' is no name of a header"),
        (FILE, ["--http-listen", "0.0.0.0:0"], "--exposed"),
        (FILE, ["--tls-key", "/no.pem"], "belong together"),
        (FILE, ["--listen", "8081"], "error: 8081 is no address to listen on: HOST:PORT or unix:/PATH"),
        (
            FILE,
            ["--listen", "unix:/no/such/folder/socket"],
            "on unix:/no/such/folder/socket: No such file or directory",
        ),
        (FILE, ["--store", "redis:/127.0.0.1"], "redis://..., with two slashes"),
        (FILE, ["--tls-key", "/no.pem", "--tls-certificate", "/no.pem"], "TLS cannot be served with /no.pem"),
    ],
)
def test_what_is_wrong_at_the_start_is_told_and_nothing_is_served(
    place: Path, text: str, options: list[str], words: str
) -> None:
    with (
        pytest.raises(AssertionError) as raised,
        ExitStack() as held,
    ):
        held.enter_context(start(place, *options, folder=config(place, text)))
    assert words in str(raised.value)
    assert "Traceback" not in str(raised.value)
    assert "error: error:" not in str(raised.value)
