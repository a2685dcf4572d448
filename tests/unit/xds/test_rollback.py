"""What is rolled back, when, and what everybody runs afterwards."""

import pytest
from structlog.testing import capture_logs

from tests.unit.xds.proxies import TYPE_URLS, DeltaProxy, Joined, Later, Proxy, SotwProxy, resource, snapshot
from xds.protocol.messages import Node
from xds.publisher import PATIENCE_SECONDS, Publisher
from xds.rollback import RolledBack, without_refused
from xds.snapshot import Snapshot

BOTH = pytest.mark.parametrize("proxy_type", [DeltaProxy, SotwProxy])
FIRST = snapshot(CDS={"a": "1", "b": "1"}, LDS={"l": "1"})
WORSE = snapshot(CDS={"a": "bad", "b": "2"}, LDS={"l": "1"})
MENDED = snapshot(CDS={"a": "3", "b": "2"}, LDS={"l": "1"})


def texts(of: Snapshot | None, short: str = "CDS") -> dict[str, str]:
    assert of is not None
    return {name: each.body.decode() for name, each in of.resources.get(TYPE_URLS[short], {}).items()}


def fleet(publisher: Publisher, count: int, start: Snapshot | None = FIRST) -> list[Joined]:
    """Proxies that all run the same, proven by it."""
    joined = [Joined(publisher, Node(f"edge-{number}", "edge")) for number in range(count)]
    if start is not None:
        publisher.set_snapshot("edge", start)
        for each in joined:
            each.follow()
        assert publisher.good("edge") is start
    return joined


def refuse(joined: Joined, name: str, message: str = "no") -> None:
    """Refuse this one of what is outstanding, whatever else is."""
    wanted = next(each for each in joined.proxy.outstanding if [one.name for one in each.resources] == [name])
    joined.proxy.outstanding.remove(wanted)
    joined.proxy.answer(wanted, message)
    joined.publisher.changed(joined.connection)


def served(publisher: Publisher) -> dict[str, str]:
    return texts(publisher.snapshot("edge"))


@BOTH
def test_a_refused_resource_goes_back_and_the_rest_is_published(proxy_type: type[Proxy]) -> None:
    publisher = Publisher(Later().after)
    joined = Joined(publisher, proxy=proxy_type())
    publisher.set_snapshot("edge", FIRST)
    joined.follow()
    publisher.set_snapshot("edge", WORSE)
    joined.fetch()
    if proxy_type is DeltaProxy:
        refuse(joined, "a", "no such host")
    else:
        joined.nack("CDS", "Error adding/updating cluster(s) a: no such host")
    assert served(publisher) == {"a": "1", "b": "2"}
    assert publisher.intended("edge") is WORSE
    joined.follow()
    served_now = publisher.snapshot("edge")
    assert served_now is not None
    assert publisher.live("edge", served_now.version).complete
    assert publisher.good("edge") is served_now


def test_after_the_rollback_the_proxy_that_refused_is_sent_nothing_for_what_it_refused() -> None:
    publisher = Publisher(Later().after)
    (joined,) = fleet(publisher, 1)
    publisher.set_snapshot("edge", WORSE)
    joined.fetch()
    refuse(joined, "a")
    assert joined.fetch() == []
    joined.ack()
    assert joined.proxy.later(60) == []
    publisher.set_snapshot("edge", snapshot(CDS={"a": "bad", "b": "3"}, LDS={"l": "1"}))
    assert joined.fetch() == ["CDS b@3"]
    publisher.set_snapshot("edge", MENDED)
    assert "CDS a@3" in joined.fetch()


def test_after_the_rollback_a_state_of_the_world_proxy_is_told_once_what_it_has() -> None:
    publisher = Publisher(Later().after)
    joined = Joined(publisher, proxy=SotwProxy())
    publisher.set_snapshot("edge", FIRST)
    joined.follow()
    publisher.set_snapshot("edge", WORSE)
    joined.fetch()
    joined.nack("CDS", "Error adding/updating cluster(s) a: no")
    # An Envoy applies the good ones of a set that it refuses: only a complete set says what it runs.
    sent = len(joined.proxy.responses)
    joined.follow()
    assert len(joined.proxy.responses) <= sent + 1
    assert joined.proxy.later(60) == []


def test_what_was_rolled_back_is_reported_with_place_words_and_nodes() -> None:
    publisher = Publisher(Later().after)
    (joined,) = fleet(publisher, 1)
    heard: list[tuple[str, RolledBack]] = []
    publisher.on_rollback(lambda group, each: heard.append((group, each)))
    publisher.set_snapshot("edge", WORSE)
    joined.fetch()
    with capture_logs() as logs:
        refuse(joined, "a", "no such host")
    (report,) = publisher.rolled_back("edge")
    assert (report.type_url, report.name, report.message) == (TYPE_URLS["CDS"], "a", "no such host")
    assert (report.refused, report.served) == (resource("a", "bad").version, resource("a", "1").version)
    assert (str(report.origin), report.nodes) == ("edge.yaml:1", ("edge-0",))
    assert [group for group, _ in heard] == ["edge"]
    (event,) = logs
    assert (event["event"], event["gateway"], event["type"], event["resource"], event["file"], event["line"]) == (
        ("config_rolled_back", "edge", "CDS", "a", "edge.yaml", 1)
    )
    joined.follow()
    liveness = publisher.live("edge", WORSE.version)
    assert (liveness.current, liveness.complete, liveness.rolled_back) == (True, False, (report,))
    ((status,),) = liveness.refused.values()
    assert (status.name, status.message, str(status.origin)) == ("a", "no such host", "edge.yaml:1")


def test_a_version_stays_rolled_back_until_its_content_changes() -> None:
    publisher = Publisher(Later().after)
    (joined,) = fleet(publisher, 1)
    publisher.set_snapshot("edge", WORSE)
    joined.fetch()
    refuse(joined, "a")
    publisher.set_snapshot("edge", snapshot(CDS={"a": "bad", "b": "4"}, LDS={"l": "1"}))
    assert served(publisher) == {"a": "1", "b": "4"}
    publisher.set_snapshot("edge", MENDED)
    assert (served(publisher), publisher.rolled_back("edge")) == ({"a": "3", "b": "2"}, ())
    publisher.set_snapshot("edge", WORSE)
    assert served(publisher)["a"] == "bad"


def test_in_the_first_configuration_ever_what_is_refused_is_left_out_with_what_needs_it() -> None:
    publisher = Publisher(Later().after)
    (joined,) = fleet(publisher, 1, start=None)
    needs = {"LDS bad": ["CDS a"]}
    publisher.set_snapshot("edge", snapshot(CDS={"a": "bad", "b": "1"}, LDS={"bad": "1", "l": "1"}, needs=needs))
    joined.fetch()
    refuse(joined, "a")
    assert served(publisher) == {"b": "1"}
    assert texts(publisher.snapshot("edge"), "LDS") == {"l": "1"}
    (report,) = publisher.rolled_back("edge")
    assert report.served is None
    joined.follow()
    assert publisher.good("edge") is publisher.snapshot("edge")


def test_listeners_never_vanish_because_of_a_refusal() -> None:
    proven = snapshot(CDS={"a": "1"}, LDS={"old": "1"}, needs={"LDS old": ["CDS a"]})
    intended = snapshot(CDS={"b": "1"}, LDS={"new": "bad"})
    left = without_refused(intended, {(TYPE_URLS["LDS"], "new"): resource("new", "bad").version}, proven)
    assert (texts(left, "LDS"), texts(left)) == ({"old": "1"}, {"a": "1", "b": "1"})


def test_an_old_route_keeps_the_cluster_that_it_needs() -> None:
    needs = {"RDS r": ["CDS x"], "LDS l": ["RDS r"], "CDS x": ["EDS x"]}
    proven = snapshot(CDS={"x": "1"}, EDS={"x": "1"}, RDS={"r": "1"}, LDS={"l": "1"}, needs=needs)
    needs = {"RDS r": ["CDS y"], "LDS l": ["RDS r"], "CDS y": ["EDS y"]}
    intended = snapshot(CDS={"y": "1"}, EDS={"y": "1"}, RDS={"r": "bad"}, LDS={"l": "2"}, needs=needs)
    left = without_refused(intended, {(TYPE_URLS["RDS"], "r"): resource("r", "bad").version}, proven)
    assert {short: texts(left, short) for short in ("CDS", "EDS", "RDS", "LDS")} == {
        "CDS": {"x": "1", "y": "1"},
        "EDS": {"x": "1", "y": "1"},
        "RDS": {"r": "1"},
        "LDS": {"l": "2"},
    }


def test_resources_that_do_not_say_what_they_need_are_not_taken_for_unneeded() -> None:
    proven = snapshot(CDS={"x": "1"}, EDS={"x": "1"}, RDS={"r": "1"}, needs={"RDS r": ["CDS x"]})
    intended = snapshot(CDS={"y": "1"}, EDS={"y": "1"}, RDS={"r": "bad", "other": "1"})
    left = without_refused(intended, {(TYPE_URLS["RDS"], "r"): resource("r", "bad").version}, proven)
    assert texts(left, "RDS") == {"r": "1", "other": "1"}
    assert texts(left) == texts(left, "EDS") == {"x": "1", "y": "1"}


def test_what_no_refusal_concerns_is_served_as_it_was_published() -> None:
    assert without_refused(MENDED, {(TYPE_URLS["CDS"], "a"): "another version"}, FIRST) is MENDED


def test_one_that_refuses_before_the_others_have_answered_does_not_speak_for_them() -> None:
    later = Later()
    publisher = Publisher(later.after)
    hostile, *others = fleet(publisher, 3)
    publisher.set_snapshot("edge", WORSE)
    for each in (hostile, *others):
        each.fetch()
    refuse(hostile, "a")
    for each in others:
        each.follow()
    later.pass_by(PATIENCE_SECONDS)
    assert served(publisher)["a"] == "bad"
    assert publisher.rolled_back("edge") == ()
    assert publisher.live("edge", WORSE.version).refused.keys() == {"edge-0"}


def test_silence_counts_as_consent_only_for_a_while() -> None:
    later = Later()
    publisher = Publisher(later.after)
    refusing, *silent = fleet(publisher, 3)
    publisher.set_snapshot("edge", WORSE)
    for each in (refusing, *silent):
        each.fetch()
    refuse(refusing, "a")
    assert served(publisher)["a"] == "bad"
    later.pass_by(PATIENCE_SECONDS)
    assert served(publisher)["a"] == "1"


def test_as_many_refusals_as_acceptances_are_enough() -> None:
    publisher = Publisher(Later().after)
    accepting, refusing = fleet(publisher, 2)
    publisher.set_snapshot("edge", WORSE)
    accepting.follow()
    refusing.fetch()
    refuse(refusing, "a")
    assert served(publisher)["a"] == "1"
    accepting.follow()
    assert accepting.proxy.stream.target is publisher.snapshot("edge")


def test_what_all_have_accepted_is_not_taken_back_when_one_refuses_it_later() -> None:
    publisher = Publisher(Later().after)
    one, two = fleet(publisher, 2)
    one.leave()
    two.leave()
    late = Joined(publisher, Node("edge-2", "edge"))
    refuse(late, "a", "I am another kind of Envoy")
    assert served(publisher) == {"a": "1", "b": "1"}
    assert publisher.live("edge", FIRST.version).refused.keys() == {"edge-2"}


def test_a_node_that_refuses_everything_again_and_again_disturbs_nobody() -> None:
    later = Later()
    publisher = Publisher(later.after)
    hostile, *others = fleet(publisher, 3)
    for text in ("4", "5", "6"):
        change = snapshot(CDS={"a": text, "b": text}, LDS={"l": text})
        publisher.set_snapshot("edge", change)
        for each in (*others, hostile):
            each.fetch()
        for _ in range(3):
            hostile.proxy.ask("CDS", "a", "b")
            for response in list(hostile.proxy.outstanding):
                hostile.proxy.outstanding.remove(response)
                hostile.proxy.answer(response, "never")
                publisher.changed(hostile.connection)
        for each in others:
            each.follow()
        later.pass_by(PATIENCE_SECONDS)
        assert publisher.snapshot("edge") is change
        assert set(publisher.live("edge", change.version).acked) == {"edge-1", "edge-2"}
    assert publisher.rolled_back("edge") == ()


def test_a_node_that_has_gone_has_no_say() -> None:
    later = Later()
    publisher = Publisher(later.after)
    refusing, *others = fleet(publisher, 4)
    publisher.set_snapshot("edge", WORSE)
    for each in (refusing, *others):
        each.fetch()
    refuse(refusing, "a")
    refusing.leave()
    refuse(others[0], "a")
    others[1].ack()
    others[2].ack()
    later.pass_by(PATIENCE_SECONDS)
    assert served(publisher)["a"] == "bad"


def refused_set(message: str) -> Publisher:
    """Of three clusters two have changed, and a state-of-the-world proxy has refused the set in these words."""
    publisher = Publisher(lambda _, do: do())
    joined = Joined(publisher, proxy=SotwProxy())
    publisher.set_snapshot("edge", snapshot(CDS={"a": "1", "b": "1", "c": "1"}, LDS={"l": "1"}))
    joined.follow()
    publisher.set_snapshot("edge", snapshot(CDS={"a": "bad", "b": "2", "c": "1"}, LDS={"l": "2"}))
    joined.fetch()
    joined.nack("CDS", message)
    joined.follow()
    return publisher


def test_of_a_set_that_was_refused_without_a_name_what_changed_goes_back_and_nothing_else() -> None:
    publisher = refused_set("something is wrong")
    assert {each.name for each in publisher.rolled_back("edge")} == {"a", "b"}
    assert served(publisher) == {"a": "1", "b": "1", "c": "1"}
    assert texts(publisher.good("edge"), "LDS") == {"l": "2"}


def test_of_a_set_that_was_refused_with_names_only_these_go_back() -> None:
    publisher = refused_set("Error adding/updating cluster(s) a: no such host")
    assert [each.name for each in publisher.rolled_back("edge")] == ["a"]
    assert served(publisher) == {"a": "1", "b": "2", "c": "1"}


def test_rollbacks_close_together_are_served_together() -> None:
    later = Later()
    publisher = Publisher(later.after)
    (joined,) = fleet(publisher, 1)
    publisher.set_snapshot("edge", snapshot(CDS={"a": "bad", "b": "bad"}, LDS={"l": "bad"}))
    joined.fetch()
    woken = joined.woken
    refuse(joined, "a")
    refuse(joined, "b")
    assert joined.woken == woken + 1
    assert {each.served for each in publisher.rolled_back("edge")} == {resource(name, "1").version for name in "ab"}
    later.pass_by(PATIENCE_SECONDS)
    assert joined.woken == woken + 2
    assert served(publisher) == {"a": "1", "b": "1"}


def test_a_restored_snapshot_is_proven() -> None:
    publisher = Publisher(Later().after)
    publisher.restore("edge", FIRST)
    (joined,) = fleet(publisher, 1, start=None)
    refuse(joined, "a")
    assert publisher.snapshot("edge") is FIRST
    publisher.set_snapshot("edge", WORSE)
    joined.fetch()
    refuse(joined, "a")
    assert served(publisher) == {"a": "1", "b": "2"}


def test_what_nobody_has_answered_is_not_proven() -> None:
    publisher = Publisher(Later().after)
    good: list[Snapshot] = []
    publisher.on_good(lambda _, each: good.append(each))
    publisher.set_snapshot("edge", FIRST)
    assert publisher.good("edge") is None
    one, two = fleet(publisher, 2, start=None)
    one.ack()
    assert good == []
    two.leave()
    assert good == [FIRST]
    publisher.set_snapshot("edge", FIRST)
    one.follow()
    assert good == [FIRST]


def test_the_streams_of_a_proxy_are_known_together() -> None:
    publisher = Publisher(Later().after)
    node = Node("edge-0", "edge")
    clusters = publisher.join(node, "peer", DeltaProxy("CDS").stream, lambda: None)
    endpoints = publisher.join(node, "peer", DeltaProxy("EDS").stream, lambda: None)
    assert publisher.connections_of(node) == (clusters, endpoints)
