"""XDS.md D21 and S12: no response is larger than the client receives, and every resource is whole."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.xds.proxies import TYPE_URLS, DeltaProxy, SotwProxy, show, snapshot
from xds import wire
from xds.protocol.dialect import Draft
from xds.protocol.messages import Oversized, Response
from xds.protocol.sizes import parts_of, size_of, unfit
from xds.snapshot import ENDPOINT, Resource

LIMIT = 20_000
NAMES = [f"name-{number:03}" for number in range(200)]

NAME = st.text(max_size=30)
RESOURCE = st.builds(
    Resource.of,
    NAME,
    st.binary(max_size=3_000),
    aliases=st.lists(NAME, max_size=3),
    ttl=st.none() | st.floats(0.1, 1e6),
)
DRAFT = st.builds(
    Draft,
    st.lists(RESOURCE, max_size=5).map(tuple),
    st.lists(NAME, max_size=50).map(tuple),
    st.lists(NAME, max_size=50).map(tuple),
)


@given(DRAFT)
def test_a_response_is_never_larger_than_was_reckoned(draft: Draft) -> None:
    response = Response(ENDPOINT, "12345678", "v" * 32, draft.resources, draft.removed, draft.unresolved, wrapped=True)
    assert len(wire.write_delta(response, "a-replica-of-some-name")) <= size_of(draft)
    assert len(wire.write_sotw(response, "a-replica-of-some-name")) <= size_of(draft)


@given(DRAFT, st.integers(1_000, 5_000))
def test_the_parts_hold_everything_once_and_are_below_the_limit_but_for_what_is_alone(draft: Draft, limit: int) -> None:
    parts = parts_of(draft, limit)
    assert [each for part in parts for each in part.resources] == list(draft.resources)
    assert [each for part in parts for each in part.removed] == list(draft.removed)
    assert [each for part in parts for each in part.unresolved] == list(draft.unresolved)
    assert all(size_of(part) <= limit or len(part.resources) == 1 for part in parts)


def resources(**sizes: int) -> dict[str, Resource]:
    return {name: Resource.of(name, name.encode() + b"x" * size) for name, size in sizes.items()}


def left_out(limit: int, taken: dict[str, Resource], **sizes: int) -> list[str]:
    return [each.name for each in unfit(Draft(tuple(resources(**sizes).values())), limit, taken)]


def test_s12_of_a_complete_set_that_is_too_large_the_fewest_are_left_out() -> None:
    assert left_out(10_000, {}, a=1_000, big=9_000, c=1_000) == ["big"]
    assert left_out(10_000, {}, a=6_000, b=6_000, c=1_000, d=1_000) == ["a"]
    assert left_out(10_000, {}, a=9_999, b=9_999, c=1_000) == ["a", "b"]


def test_s12_what_a_client_has_is_left_as_it_is_and_a_change_of_it_is_kept_before_what_is_new() -> None:
    assert left_out(10_000, resources(a=8_000), a=8_000, b=500, c=1_900) == ["c"]
    assert left_out(10_000, resources(a=10), a=6_000, b=5_000, c=10) == ["b"]
    # Without the change alone, and with all that is new, it fits; that is fewer.
    assert left_out(10_000, resources(a=10), a=9_500, b=300, c=300, d=300) == ["a"]


def test_s12_a_change_that_makes_something_smaller_is_never_left_out() -> None:
    assert left_out(10_000, resources(a=9_000), a=5_000, b=6_000) == ["b"]


@given(st.lists(RESOURCE, max_size=6, unique_by=lambda each: each.name), st.data())
def test_s12_no_smaller_choice_would_do(new: list[Resource], data: st.DataObject) -> None:
    draft = Draft(tuple(new))
    former = data.draw(st.lists(st.sampled_from(new), unique=True)) if new else []
    taken = {each.name: Resource.of(each.name, data.draw(st.binary(max_size=3_000))) for each in former}
    limit = data.draw(st.integers(2_000, 12_000))
    if size_of(draft) <= limit:
        return

    def fits(refused: Iterable[Resource]) -> bool:
        names = {each.name for each in refused}
        kept = [taken.get(each.name) if each.name in names else each for each in new]
        return size_of(Draft(tuple(each for each in kept if each))) <= limit

    found = unfit(draft, limit, taken)
    smaller = itertools.chain.from_iterable(itertools.combinations(new, count) for count in range(len(found)))
    assert not any(fits(each) for each in smaller)
    assert fits(found) or not any(fits(each) for each in itertools.combinations(new, len(found)))
    assert unfit(Draft(tuple(reversed(new))), limit, taken) == found or not fits(found)


def test_d21_a_long_list_of_removals_is_split() -> None:
    proxy = DeltaProxy(limit=LIMIT)
    long = [name + "x" * 1_000 for name in NAMES]
    proxy.publish(snapshot(CDS=dict.fromkeys(long, "1")))
    proxy.ask("CDS")
    proxy.ack_all()
    before = len(proxy.responses)
    proxy.publish(snapshot())
    sent = proxy.responses[before:]
    assert len(sent) > 1
    assert sorted(name for response in sent for name in response.removed) == long
    assert all(len(wire.write_delta(response, "id")) <= LIMIT for response in sent)
    proxy.ack_all()
    assert proxy.stream.live


@pytest.mark.parametrize("short", ["RDS", "EDS"])
def test_d21_in_state_of_the_world_what_need_not_be_complete_is_split_too(short: str) -> None:
    proxy = SotwProxy(limit=LIMIT)
    proxy.publish(snapshot(**{short: dict.fromkeys(NAMES, "1" * 500)}))
    proxy.ask(short, *NAMES)
    assert len(proxy.responses) > 1
    assert [each.name for response in proxy.responses for each in response.resources] == NAMES
    proxy.ack_all()
    assert proxy.stream.live


def test_d21_a_refusal_of_an_earlier_part_counts_although_a_later_part_was_accepted() -> None:
    proxy = SotwProxy(limit=LIMIT)
    proxy.publish(snapshot(RDS={"a": "1" * 15_000, "b": "1" * 15_000}))
    proxy.ask("RDS", "a", "b")
    first, second = proxy.outstanding
    proxy.answer(first, "no")
    proxy.answer(second)
    routes = proxy.stream.subscriptions[TYPE_URLS["RDS"]]
    assert list(routes.refused) == ["a"]
    assert list(routes.acked) == ["b"]


@pytest.mark.parametrize("short", ["CDS", "LDS"])
def test_s12_of_a_complete_set_that_cannot_be_split_what_fits_is_sent_and_only_the_rest_refused(short: str) -> None:
    proxy = SotwProxy(limit=LIMIT)
    proxy.publish(snapshot(**{short: {"a": "1", **dict.fromkeys(NAMES, "1" * 500)}}))
    proxy.ask(short)
    (response,) = proxy.responses
    (event,) = proxy.events()
    assert isinstance(event, Oversized)
    refused = proxy.stream.subscriptions[TYPE_URLS[short]].refused
    assert set(event.names) == refused.keys()
    assert refused.keys() | {each.name for each in response.resources} == {"a", *NAMES}
    sizes = len(response.resources), len(wire.write_sotw(response, "id"))
    assert sizes[0] > 20
    assert sizes[1] <= LIMIT
    assert all(each.sole for each in refused.values())
    proxy.ack_all()
    assert not proxy.stream.live
    proxy.publish(snapshot(**{short: {"a": "2"}}))
    proxy.ack_all()
    assert proxy.stream.live


@pytest.mark.parametrize("short", ["CDS", "LDS", "SRDS"])
def test_s12_of_several_that_are_new_at_once_only_those_that_do_not_fit_are_refused(short: str) -> None:
    news = {"a": "2", "b": "1", "c": "1" * 9_000, "big": LARGE, "huge": LARGE}
    proxy = changed_to(SotwProxy(limit=LIMIT), short, {"a": "1"}, news)
    assert [show(each) for each in proxy.responses] == [f"{short} a@1", f"{short} a@2 b@1 c@{'1' * 9_000}"]
    subscription = proxy.stream.subscriptions[TYPE_URLS[short]]
    assert [(name, each.sole) for name, each in sorted(subscription.refused.items())] == [("big", True), ("huge", True)]
    proxy.ack_all()
    assert sorted(subscription.acked) == ["a", "b", "c"]
    # One of them is mended: it comes, and the other one is not tried again.
    proxy.publish(snapshot(**{short: news | {"big": "2"}}))
    assert sorted(each.name for each in proxy.responses[-1].resources) == ["a", "b", "big", "c"]
    proxy.ack_all()
    assert list(subscription.refused) == ["huge"]


def test_s12_a_return_to_what_was_accepted_ends_also_where_it_does_not_fit_any_more() -> None:
    first, second = {"a": "1" * 9_000, "b": "1"}, {"a": "2", "b": "1" * 9_500}
    proxy = SotwProxy(limit=LIMIT)
    proxy.publish(snapshot(CDS=first))
    proxy.ask("CDS")
    proxy.ack_all()
    proxy.publish(snapshot(CDS=second))
    assert proxy.publish(snapshot(CDS={**second, "a": first["a"], "c": "1" * 9_000})) != ["CDS"]
    proxy.ack_all()
    assert proxy.publish(snapshot(CDS={"a": "3"})) == ["CDS a@3"]


def test_s12_what_is_too_large_alone_does_not_keep_the_rest_away() -> None:
    proxy = SotwProxy(limit=LIMIT)
    proxy.publish(snapshot(EDS={"large": "1" * LIMIT, "small": "1"}))
    assert proxy.ask("EDS", "large", "small") == ["EDS small@1"]
    (event,) = proxy.events()
    assert isinstance(event, Oversized)
    assert event.names == ("large",)


LARGE = "1" * LIMIT


def changed_to(proxy: SotwProxy, short: str, *changes: dict[str, str]) -> SotwProxy:
    """It asks for everything, and answers nothing."""
    proxy.publish(snapshot(**{short: changes[0]}))
    proxy.ask(short)
    for change in changes[1:]:
        proxy.publish(snapshot(**{short: change}))
    return proxy


@pytest.mark.parametrize("short", ["CDS", "LDS", "SRDS"])
def test_s12_what_is_in_flight_is_not_refused_along_with_what_is_too_large(short: str) -> None:
    proxy = changed_to(SotwProxy(limit=LIMIT), short, {"a": "1"}, {"a": "1", "big": LARGE})
    subscription = proxy.stream.subscriptions[TYPE_URLS[short]]
    (refusal,) = subscription.refused.values()
    assert (list(subscription.refused), refusal.sole) == (["big"], True)
    proxy.ack_all()
    assert list(subscription.acked) == ["a"]
    assert proxy.publish(snapshot(**{short: {"a": "1", "big": "2"}})) == [f"{short} a@1 big@2"]
    proxy.ack_all()
    assert proxy.stream.live


@pytest.mark.parametrize("short", ["CDS", "LDS", "SRDS"])
def test_s12_what_goes_while_something_is_too_large_goes_all_the_same(short: str) -> None:
    proxy = changed_to(SotwProxy(limit=LIMIT), short, {"a": "1", "b": "1"}, {"a": "1", "big": LARGE})
    assert [show(each) for each in proxy.responses] == [f"{short} a@1 b@1", f"{short} a@1"]
    proxy.ack_all()
    assert list(proxy.stream.subscriptions[TYPE_URLS[short]].refused) == ["big"]


@pytest.mark.parametrize("short", ["CDS", "LDS", "SRDS"])
def test_s12_what_is_in_flight_is_not_taken_back_when_its_next_version_is_too_large(short: str) -> None:
    proxy = changed_to(SotwProxy(limit=LIMIT), short, {"a": "1", "b": "1"}, {"a": "1", "b": LARGE})
    proxy.publish(snapshot(**{short: {"a": "2", "b": LARGE}}))
    assert [show(each) for each in proxy.responses] == [f"{short} a@1 b@1", f"{short} a@2 b@1"]
    proxy.ack_all()
    assert list(proxy.stream.subscriptions[TYPE_URLS[short]].refused) == ["b"]
