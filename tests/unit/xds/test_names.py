"""XDS.md D19 and D22: virtual hosts asked for by other names than their own, and collections."""

import pytest

from tests.unit.xds.proxies import TYPE_URLS, DeltaProxy, SotwProxy, show, snapshot
from xds.protocol.messages import ENVOY, Node
from xds.protocol.names import collection_of, is_collection
from xds.snapshot import CLUSTER, LOCALITY_ENDPOINT, VIRTUAL_HOST, Resource, Snapshot

GLOB = "xdstp://authority/envoy.config.endpoint.v3.LbEndpoint/one/*"
MEMBER = GLOB.removesuffix("*")


def hosts(**aliases: list[str]) -> Snapshot:
    """Virtual hosts of route configuration "rc", each with the hosts that lead to it."""
    return Snapshot.of(
        (VIRTUAL_HOST, Resource.of(f"rc/{name}", name.encode(), aliases=[f"rc/{host}" for host in leading]))
        for name, leading in aliases.items()
    )


def published(snapshot: Snapshot) -> DeltaProxy:
    proxy = DeltaProxy()
    proxy.publish(snapshot)
    return proxy


def test_d19_a_host_asked_for_by_an_alias_is_answered_by_its_own_name_and_with_all_its_aliases() -> None:
    proxy = published(hosts(one=["a.test", "b.test"], two=["c.test"]))
    assert proxy.ask("VHDS", "rc/a.test") == ["VHDS rc/one@one"]
    assert proxy.responses[-1].resources[0].aliases == ("rc/a.test", "rc/b.test")
    proxy.ack_all()
    assert proxy.stream.live


def test_d19_a_host_is_also_found_by_its_own_name() -> None:
    assert published(hosts(one=["a.test"])).ask("VHDS", "rc/one") == ["VHDS rc/one@one"]


def test_d19_two_aliases_of_one_host_bring_it_once() -> None:
    assert published(hosts(one=["a.test", "b.test"])).ask("VHDS", "rc/a.test", "rc/b.test") == ["VHDS rc/one@one"]


def test_d4_a_host_that_nothing_bears_is_said_to_be_removed() -> None:
    proxy = published(hosts(one=["a.test"]))
    assert proxy.ask("VHDS", "rc/x.test", "rc/a.test") == ["VHDS rc/one@one -rc/x.test"]
    assert proxy.responses[-1].unresolved == ()
    proxy.ack_all()
    assert proxy.stream.live
    assert proxy.publish(hosts(one=["a.test"], new=["x.test"])) == ["VHDS rc/new@new"]


def test_d19_an_envoy_is_told_of_it_as_of_one_without_a_body_because_it_waits_for_that() -> None:
    proxy = DeltaProxy()
    proxy._node = Node("edge-1", "edge", ENVOY)
    proxy.publish(hosts(one=["a.test"]))
    proxy.ask("VHDS", "rc/x.test", "rc/a.test")
    assert [show(each) for each in proxy.responses] == ["VHDS rc/one@one"]
    assert proxy.responses[-1].unresolved == ("rc/x.test",)
    assert proxy.responses[-1].removed == ()
    proxy.ack_all()
    assert proxy.publish(hosts(one=["a.test"], new=["x.test"])) == ["VHDS rc/new@new"]


def test_d19_a_changed_host_is_sent_to_who_asked_by_an_alias() -> None:
    proxy = published(hosts(one=["a.test"]))
    proxy.ask("VHDS", "rc/a.test")
    proxy.ack_all()
    assert proxy.publish(hosts(one=["a.test", "b.test"])) == ["VHDS rc/one@one"]
    proxy.ack_all()
    assert proxy.publish(hosts()) == ["VHDS -rc/one"]


def test_d19_an_alias_that_leads_elsewhere_takes_the_former_host_away() -> None:
    proxy = published(hosts(one=["a.test"], two=["b.test"]))
    proxy.ask("VHDS", "rc/a.test")
    proxy.ack_all()
    assert proxy.publish(hosts(one=["c.test"], two=["b.test", "a.test"])) == ["VHDS rc/two@two -rc/one"]
    proxy.ack_all()
    assert proxy.stream.live


def test_d19_an_unsubscribed_alias_is_forgotten_unless_another_leads_to_the_same_host() -> None:
    proxy = published(hosts(one=["a.test", "b.test"]))
    proxy.ask("VHDS", "rc/a.test", "rc/b.test")
    proxy.ack_all()
    assert proxy.ask("VHDS", unsubscribe=["rc/a.test"]) == []
    assert proxy.publish(hosts(one=["a.test", "b.test", "c.test"])) == ["VHDS rc/one@one"]
    proxy.ack_all()
    assert proxy.ask("VHDS", unsubscribe=["rc/b.test"]) == []
    assert proxy.publish(hosts(one=["b.test"])) == []


def test_a_first_request_without_names_brings_the_hosts_without_aliases_and_the_others_wait_to_be_asked_for() -> None:
    proxy = published(hosts(base=[], one=["a.test"]))
    assert proxy.ask("VHDS") == ["VHDS rc/base@base"]
    proxy.ack_all()
    assert proxy.stream.live
    assert proxy.ask("VHDS", "rc/a.test") == ["VHDS rc/one@one"]
    proxy.ack_all()
    assert proxy.publish(hosts(base=[], one=["a.test"], more=[], two=["b.test"])) == ["VHDS rc/more@more"]


def test_an_envoy_that_reconnects_with_hosts_it_asked_for_is_sent_none_of_them_again_unasked() -> None:
    proxy = published(hosts(base=[], one=["a.test"]))
    base = proxy.stream.target.resources[VIRTUAL_HOST]["rc/base"].version  # type: ignore[union-attr]
    proxy.ask("VHDS", "*", initial={"rc/base": "base"})
    assert base == Resource.of("rc/base", b"base").version
    assert [show(each) for each in proxy.responses] == ["VHDS"]


def members(*names: str, text: str = "1") -> Snapshot:
    return Snapshot.of((LOCALITY_ENDPOINT, Resource.of(name, text.encode())) for name in names)


@pytest.mark.parametrize(("glob", "prefix"), [(GLOB, MEMBER), ("one/*", "one/")])
def test_d22_a_collection_brings_all_its_members_and_no_other(glob: str, prefix: str) -> None:
    proxy = published(members(f"{prefix}a", f"{prefix}b", f"{prefix}deeper/c", "other/a"))
    assert proxy.ask("LEDS", glob) == [f"LEDS {prefix}a@1", f"LEDS {prefix}b@1"]
    proxy.ack_all()
    assert proxy.stream.live
    assert proxy.publish(members(f"{prefix}b", f"{prefix}c", "other/a", "other/b")) == [
        f"LEDS {prefix}c@1 -{prefix}a",
    ]


def test_d22_an_empty_collection_is_said_to_be_missing_and_its_first_member_is_sent() -> None:
    proxy = published(members())
    assert proxy.ask("LEDS", GLOB) == [f"LEDS -{GLOB}"]
    proxy.ack_all()
    assert proxy.publish(members(f"{MEMBER}a")) == [f"LEDS {MEMBER}a@1"]


def test_d22_an_unsubscribed_collection_brings_nothing_more_and_when_taken_up_again_everything() -> None:
    proxy = published(members(f"{MEMBER}a"))
    proxy.ask("LEDS", GLOB)
    proxy.ack_all()
    assert proxy.ask("LEDS", unsubscribe=[GLOB]) == []
    assert proxy.publish(members(f"{MEMBER}a", text="2")) == []
    assert proxy.ask("LEDS", GLOB) == [f"LEDS {MEMBER}a@2"]


def test_d22_a_collection_asked_for_again_is_sent_again() -> None:
    proxy = published(members(f"{MEMBER}a"))
    proxy.ask("LEDS", GLOB)
    proxy.ack_all()
    assert proxy.ask("LEDS", GLOB) == [f"LEDS {MEMBER}a@1"]


def test_d22_a_member_can_be_asked_for_by_its_own_name() -> None:
    assert published(members(f"{MEMBER}a", f"{MEMBER}b")).ask("LEDS", f"{MEMBER}a") == [f"LEDS {MEMBER}a@1"]


def test_d22_what_a_reconnecting_client_has_of_a_collection_is_not_sent_again() -> None:
    proxy = published(members(f"{MEMBER}a", f"{MEMBER}b"))
    initial = {f"{MEMBER}a": "1", f"{MEMBER}gone": "1"}
    assert proxy.ask("LEDS", GLOB, initial=initial)[-1] == f"LEDS {MEMBER}b@1"


def test_d22_collections_of_other_types_have_uniform_names_and_a_plain_name_may_end_as_it_likes() -> None:
    uniform = "xdstp://authority/envoy.config.cluster.v3.Cluster/*"
    named = snapshot(CDS={uniform.replace("*", "a"): "1", "plain/*": "1", "plain/b": "1"})
    assert published(named).ask("CDS", uniform) == [f"CDS {uniform.replace('*', 'a')}@1"]
    assert published(named).ask("CDS", "plain/*") == ["CDS plain/*@1"]
    sotw = SotwProxy()
    sotw.publish(named)
    assert sotw.ask("CDS", uniform) == [f"CDS {uniform.replace('*', 'a')}@1"]


@pytest.mark.parametrize(
    ("name", "collection"),
    [
        ("xdstp://a/T/x", "xdstp://a/T/*"),
        ("xdstp://a/T/x?node=1", "xdstp://a/T/*?node=1"),
        ("xdstp://a/T/x/y", "xdstp://a/T/x/*"),
        ("one/a", "one/*"),
        ("a", ""),
    ],
)
def test_a_name_belongs_to_the_collection_of_its_prefix_and_parameters(name: str, collection: str) -> None:
    assert collection_of(name) == collection
    if collection:
        assert is_collection(LOCALITY_ENDPOINT, collection)
    assert not is_collection(LOCALITY_ENDPOINT, name)


def test_a_star_alone_is_the_wildcard_and_no_collection() -> None:
    assert not is_collection(CLUSTER, "*")
    assert TYPE_URLS["LEDS"] == LOCALITY_ENDPOINT


def test_an_endpoint_goes_at_once_and_a_whole_locality_only_after_the_routes_to_it() -> None:
    both = [(LOCALITY_ENDPOINT, Resource.of(f"{MEMBER}{name}", b"1")) for name in "ab"]
    route = Resource.of("r", b"1"), Resource.of("r", b"2")
    proxy = published(Snapshot.of([*both, (TYPE_URLS["RDS"], route[0])]))
    proxy.ask("LEDS", GLOB)
    proxy.ask("RDS", "r")
    proxy.ack_all()
    assert proxy.publish(Snapshot.of([both[0], (TYPE_URLS["RDS"], route[1])])) == [f"LEDS -{MEMBER}b"]
    proxy.ack_all()
    assert proxy.publish(Snapshot.of([(TYPE_URLS["RDS"], route[0])])) == ["RDS r@1"]
    assert proxy.ack() == [f"LEDS -{MEMBER}a"]
