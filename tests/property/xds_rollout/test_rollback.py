"""Whatever is refused of whatever follows on whatever: what is left to publish is sound."""

from hypothesis import example, given
from hypothesis import strategies as st

from tests.property.xds_rollout.drawn import snapshots
from xds.consistency import inconsistencies
from xds.rollback import Unit, without_refused
from xds.snapshot import ENDPOINT, LISTENER, ROUTE, Resource, Snapshot


@st.composite
def cases(draw: st.DrawFn) -> tuple[Snapshot, dict[Unit, str], Snapshot | None]:
    intended, proven = draw(snapshots()), draw(snapshots() | st.none())
    units = [(type_url, each.name, each.version) for type_url, each in intended]
    refused = draw(st.sets(st.sampled_from(units), min_size=1, max_size=4)) if units else set()
    return intended, {(type_url, name): version for type_url, name, version in refused}, proven


def units(snapshot: Snapshot | None) -> dict[Unit, Resource]:
    return {(type_url, each.name): each for type_url, each in snapshot or ()}


def connected(start: set[Unit], *snapshots: Snapshot | None) -> set[Unit]:
    """These and all that refers to them or is referred to by them, over any number of steps."""
    neighbours: dict[Unit, set[Unit]] = {}
    for snapshot in snapshots:
        for unit, resource in units(snapshot).items():
            for need in resource.needs:
                neighbours.setdefault(unit, set()).add(need)
                neighbours.setdefault(need, set()).add(unit)
    reached, left = set(start), list(start)
    while left:
        new = neighbours.get(left.pop(), set()) - reached
        reached |= new
        left += new
    return reached


CASES = cases()


def test_the_drawn_snapshots_are_consistent() -> None:
    @given(snapshots())
    def check(snapshot: Snapshot) -> None:
        assert inconsistencies(snapshot) == []

    check()


@given(CASES)
def test_the_rest_is_consistent(case: tuple[Snapshot, dict[Unit, str], Snapshot | None]) -> None:
    assert inconsistencies(without_refused(*case)) == []


@given(CASES)
def test_nothing_refused_remains(case: tuple[Snapshot, dict[Unit, str], Snapshot | None]) -> None:
    _, refused, _ = case
    left = units(without_refused(*case))
    assert not [unit for unit, version in refused.items() if unit in left and left[unit].version == version]


@given(CASES)
def test_a_refused_resource_gets_its_proven_content_unless_nothing_needs_that(
    case: tuple[Snapshot, dict[Unit, str], Snapshot | None],
) -> None:
    _, refused, proven = case
    left, before = units(without_refused(*case)), units(proven)
    for unit, version in refused.items():
        if unit in left:
            assert left[unit] == before[unit]
        elif unit in before and before[unit].version != version and unit[0] not in (ROUTE, ENDPOINT):
            # It can only be missing because what it needs was refused also where it is proven.
            lost = {each for each, content in refused.items() if each in before and before[each].version == content}
            assert lost


@given(CASES)
def test_what_is_not_connected_to_anything_refused_stays_as_intended(
    case: tuple[Snapshot, dict[Unit, str], Snapshot | None],
) -> None:
    intended, refused, proven = case
    left, wanted = units(without_refused(*case)), units(intended)
    touched = connected(set(refused), intended, proven)
    if LISTENER not in intended.resources or all(unit in touched for unit in wanted if unit[0] == LISTENER):
        # Should no listener be left, the proven ones come back.
        touched = connected(touched | {unit for unit in units(proven) if unit[0] == LISTENER}, intended, proven)
    for unit in (wanted.keys() | left.keys()) - touched:
        assert left.get(unit) == wanted.get(unit)


@given(CASES)
def test_every_content_is_the_intended_or_the_proven_one(
    case: tuple[Snapshot, dict[Unit, str], Snapshot | None],
) -> None:
    intended, _, proven = case
    for unit, resource in units(without_refused(*case)).items():
        assert resource in (units(intended).get(unit), units(proven).get(unit))


@given(CASES)
def test_doing_it_again_changes_nothing(case: tuple[Snapshot, dict[Unit, str], Snapshot | None]) -> None:
    _, refused, proven = case
    once = without_refused(*case)
    assert without_refused(once, refused, proven) is once


LISTENERS = Snapshot.of([(LISTENER, Resource.of("new", b"1"))])


@example((LISTENERS, {(LISTENER, "new"): Resource.of("new", b"1").version}, LISTENERS))
@given(CASES)
def test_listeners_are_left_if_some_are_intended_and_some_proven_content_is_not_refused(
    case: tuple[Snapshot, dict[Unit, str], Snapshot | None],
) -> None:
    intended, refused, proven = case
    again = any(unit in units(proven) and units(proven)[unit].version == version for unit, version in refused.items())
    if LISTENER in intended.resources and proven is not None and LISTENER in proven.resources and not again:
        assert LISTENER in without_refused(*case).resources
