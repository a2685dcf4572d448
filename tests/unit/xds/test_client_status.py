"""The client status, part by part: what is said of a resource, which nodes match, what may be shown, since when."""

import pytest

from protos import csds_pb2 as pb
from tests.unit.xds.proxies import NODE, TYPE_URLS, DeltaProxy, Proxy, SotwProxy, resource, snapshot
from xds.client_status import wire
from xds.client_status.configs import ClientConfig, ClientStatus, ConfigStatus, Failure, ResourceConfig, client_config
from xds.client_status.contents import showable
from xds.client_status.matching import Kind, Pattern, Unanswerable, matching
from xds.client_status.updates import Updates
from xds.nodes import Nodes, State
from xds.rollback import RolledBack
from xds.snapshot import SHORT_NAMES, Snapshot

OLD, NEW = snapshot(CDS={"a": "1"}), snapshot(CDS={"a": "2"})
SAME_WORDS = {
    State.SYNCED: ConfigStatus.SYNCED,
    State.NOT_SENT: ConfigStatus.NOT_SENT,
    State.STALE: ConfigStatus.STALE,
    State.REJECTED: ConfigStatus.ERROR,
}


def nobody_knows(*_: str) -> None:
    return None


def configs(proxy: Proxy, wanted: Snapshot | None, *rolled_back: RolledBack) -> dict[str, ResourceConfig]:
    """By "TYPE name"."""
    nodes = Nodes()
    nodes.add(NODE, "peer", proxy.stream)
    config = client_config(nodes.connections_of("edge", NODE.id), wanted, rolled_back, nobody_knows)
    assert config.node == NODE
    return {f"{SHORT_NAMES[each.type_url]} {each.name}": each for each in config.resources}


def running(snapshot: Snapshot, proxy: Proxy | None = None) -> Proxy:
    proxy = proxy or DeltaProxy()
    proxy.publish(snapshot)
    proxy.ask("CDS")
    proxy.ack_all()
    return proxy


def back(refused: str, served: str | None, *nodes: str) -> RolledBack:
    return RolledBack(TYPE_URLS["CDS"], "a", refused, served, "bad", None, nodes)


def test_a_proxy_that_has_not_taken_a_new_snapshot_up_has_not_been_sent_it() -> None:
    found = configs(running(OLD), NEW)["CDS a"]
    assert (found.status, found.client) == (ConfigStatus.NOT_SENT, ClientStatus.ACKED)
    assert (found.version, found.body) == (resource("a", "2").version, b"2")


@pytest.mark.parametrize("kind", [DeltaProxy, SotwProxy])
def test_every_status_agrees_with_that_of_the_registry(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.publish(snapshot(CDS={"a": "1", "b": "1"}, LDS={"l": "1"}, EDS={"a": "1"}))
    states = []
    for step in (
        lambda: proxy.ask("CDS"),
        lambda: proxy.ack("CDS"),
        lambda: proxy.ask("LDS"),
        lambda: proxy.nack("LDS"),
        lambda: proxy.ask("EDS", "a"),
        lambda: proxy.ack_all(),
    ):
        step()
        nodes = Nodes()
        nodes.add(NODE, "peer", proxy.stream)
        (status,) = nodes.status("edge")
        known = {(kind.type_url, each.name): each for kind in status.types for each in kind.resources}
        config = client_config(nodes.connections_of("edge", NODE.id), proxy.stream.target, (), nobody_knows)
        assert {(each.type_url, each.name): each.status for each in config.resources} == {
            unit: SAME_WORDS[each.state] for unit, each in known.items()
        }
        states += [each.state for each in known.values()]
    assert set(states) == set(State)


def test_a_refused_resource_is_shown_beside_the_one_that_runs() -> None:
    proxy = running(OLD, SotwProxy())
    proxy.publish(NEW)
    proxy.nack("CDS", "no such thing")
    found = configs(proxy, NEW)["CDS a"]
    old, new = resource("a", "1").version, resource("a", "2").version
    assert (found.status, found.client, found.version) == (ConfigStatus.ERROR, ClientStatus.NACKED, old)
    assert found.body == b"1"
    assert found.failure == Failure(new, "no such thing", b"2")


def test_what_was_taken_back_is_an_error_of_those_that_refused_it_and_of_no_other() -> None:
    old, new = resource("a", "1").version, resource("a", "2").version
    refused = configs(running(OLD), OLD, back(new, old, NODE.id, "other"))["CDS a"]
    assert (refused.status, refused.client, refused.version) == (ConfigStatus.ERROR, ClientStatus.NACKED, old)
    assert (refused.body, refused.failure) == (b"1", Failure(new, "bad"))
    assert configs(running(OLD), OLD, back(new, old, "other"))["CDS a"].status is ConfigStatus.SYNCED


def test_what_was_taken_back_and_replaced_by_nothing_is_still_shown() -> None:
    proxy = running(snapshot(CDS={"b": "1"}))
    found = configs(proxy, snapshot(CDS={"b": "1"}), back("v", None, NODE.id))
    assert found["CDS a"].status is ConfigStatus.ERROR
    assert (found["CDS a"].version, found["CDS a"].body) == ("", None)
    assert found["CDS b"].status is ConfigStatus.SYNCED


def test_the_newest_stream_speaks_for_a_type() -> None:
    nodes = Nodes()
    half_dead, alive = running(OLD), running(NEW)
    nodes.add(NODE, "old", half_dead.stream)
    nodes.add(NODE, "new", alive.stream)
    config = client_config(nodes.connections_of("edge", NODE.id), NEW, (), nobody_knows)
    assert [each.status for each in config.resources] == [ConfigStatus.SYNCED]


def test_an_alias_that_is_found_is_not_missing() -> None:
    proxy = DeltaProxy()
    host = resource("r/host", "1")
    aliased = type(host)(host.name, host.version, host.body, aliases=("r/host.example",))
    wanted = Snapshot.of([(TYPE_URLS["VHDS"], aliased)])
    proxy.publish(wanted)
    proxy.ask("VHDS", "r/host.example", "r/other.example")
    proxy.ack_all()
    found = configs(proxy, wanted)
    assert found["VHDS r/host"].status is ConfigStatus.SYNCED
    assert found["VHDS r/other.example"].client is ClientStatus.DOES_NOT_EXIST
    assert "VHDS r/host.example" not in found


def test_a_resource_is_as_old_as_its_content() -> None:
    updates = Updates()
    first = resource("a", "1").version
    updates.note("edge", snapshot(CDS={"a": "1", "b": "1"}), 10.0)
    updates.note("edge", snapshot(CDS={"a": "1", "b": "2"}), 20.0)
    assert updates.at("edge", TYPE_URLS["CDS"], "a", first) == 10.0
    assert updates.at("edge", TYPE_URLS["CDS"], "b", resource("b", "2").version) == 20.0
    assert updates.at("edge", TYPE_URLS["CDS"], "b", resource("b", "1").version) is None
    assert updates.at("other", TYPE_URLS["CDS"], "a", first) is None
    updates.note("edge", snapshot(), 30.0)
    assert updates.at("edge", TYPE_URLS["CDS"], "a", first) is None


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (Pattern(Kind.EXACT, "edge-1"), "edge-1", "edge-10"),
        (Pattern(Kind.EXACT, ""), "", "edge-1"),
        (Pattern(Kind.PREFIX, "edge"), "edge-1", "an-edge"),
        (Pattern(Kind.SUFFIX, "-1"), "edge-1", "edge-12"),
        (Pattern(Kind.CONTAINS, "ge"), "edge-1", "ed-1"),
        (Pattern(Kind.PREFIX, "EDGE", ignore_case=True), "Edge-1", "an-edge"),
        (Pattern(Kind.REGEX, "edge-[0-9]+"), "edge-12", "edge-12x"),
        (Pattern(Kind.REGEX, "EDGE", ignore_case=True), "EDGE", "edge"),
    ],
)
def test_a_node_id_is_compared_as_envoy_compares_strings(pattern: Pattern, yes: str, no: str) -> None:
    found = matching([pattern])
    assert not isinstance(found, Unanswerable)
    assert (found(yes), found(no)) == (True, False)


def test_an_expression_that_others_need_exponential_time_for_is_compared_at_once() -> None:
    found = matching([Pattern(Kind.REGEX, "(a+)+b")])
    assert not isinstance(found, Unanswerable)
    assert not found("a" * 100_000)


@pytest.mark.parametrize("text", ["", "(", r"(a)\1", "(?=a)", "a" * 1025, "((a{100}){100}){100}"])
def test_an_expression_that_is_none_or_too_large_is_refused(text: str) -> None:
    refused = matching([None, Pattern(Kind.REGEX, text)])
    assert isinstance(refused, Unanswerable)
    assert refused.reason.startswith("node_matchers[1].node_id: safe_regex")


@pytest.mark.parametrize(
    ("short", "body", "shown"),
    [
        ("CDS", b"a cluster with a -----BEGIN CERTIFICATE----- in it", True),
        ("SDS", b"a validation context", False),
        ("CDS", b"\x0a\x1f-----BEGIN PRIVATE KEY-----", False),
        ("LDS", b"-----BEGIN EC PRIVATE KEY-----", False),
        ("LDS", b"\x30\x82\x02\x01\x03\x30\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01", False),
        ("LDS", b'{"keys": [{"kty":"oct","k":"c2VjcmV0"}]}', False),
        (
            "LDS",
            b'{"keys": [{"kty": "RSA", "n": "0vx7", "d": "X4cTteJY_gn4FYPsXB8rdXix5vwsg1FLN5E3EaG6RJoVH"}]}',
            False,
        ),
        ("LDS", b'{"keys": [{"kty": "RSA", "n": "0vx7agoebGcQ", "e": "AQAB"}]}', True),
        ("LDS", b"filename: /etc/tls/private.key", True),
    ],
)
def test_what_holds_a_key_is_never_shown(short: str, body: bytes, shown: bool) -> None:
    assert showable(TYPE_URLS[short], body) is shown
    config = ResourceConfig(
        TYPE_URLS[short], "a", ConfigStatus.ERROR, ClientStatus.NACKED, "1", body, failure=Failure("2", "no", body)
    )
    answer = pb.ClientStatusResponse()
    wire.write_config(answer, ClientConfig(NODE, (config,)), contents=True)
    (written,) = answer.config[0].generic_xds_configs
    assert written.HasField("xds_config") is shown
    assert written.error_state.HasField("failed_configuration") is shown
    whole, names = (wire.size(ClientConfig(NODE, (config,)), contents=contents) for contents in (True, False))
    assert whole - names == 2 * len(body)
    assert answer.ByteSize() <= whole
