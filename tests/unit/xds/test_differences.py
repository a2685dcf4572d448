"""Which resources proxies would be sent, or told to drop, when one snapshot follows another."""

from xds.differences import resource_changes
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, Origin, Resource, Snapshot

HERE = Origin("shop.yaml", 7)
BEFORE = Snapshot.of(
    [(CLUSTER, Resource.of("shop", b"1", HERE)), (ENDPOINT, Resource.of("shop", b"1")), (ROUTE, Resource.of("r", b"1"))]
)


def test_equal_snapshots_change_nothing() -> None:
    assert resource_changes(BEFORE, BEFORE) == ()


def test_what_is_another_body_is_changed_and_everything_else_is_not_told() -> None:
    after = Snapshot.of([*((kind, each) for kind, each in BEFORE if kind != ROUTE), (ROUTE, Resource.of("r", b"2"))])
    (one,) = resource_changes(BEFORE, after)
    assert (one.type_url, one.name, one.op) == (ROUTE, "r", "changed")
    assert one.before != one.after


def test_a_move_within_the_file_is_no_change_of_a_resource() -> None:
    moved = Snapshot.of(
        (kind, Resource.of(each.name, each.body, Origin("shop.yaml", 70), each.needs)) for kind, each in BEFORE
    )
    assert resource_changes(BEFORE, moved) == ()


def test_what_comes_and_goes_is_told_in_the_order_of_sending() -> None:
    after = Snapshot.of([(LISTENER, Resource.of("l", b"1", HERE)), (CLUSTER, Resource.of("next", b"1", HERE))])
    told = [(one.type_url, one.name, one.op) for one in resource_changes(BEFORE, after)]
    assert told == [
        (CLUSTER, "next", "added"),
        (CLUSTER, "shop", "removed"),
        (ENDPOINT, "shop", "removed"),
        (LISTENER, "l", "added"),
        (ROUTE, "r", "removed"),
    ]


def test_what_goes_is_told_with_the_line_that_it_came_from() -> None:
    gone = resource_changes(BEFORE, Snapshot.of([]))
    assert gone[0].as_record() == {
        "type": "CDS",
        "name": "shop",
        "op": "removed",
        "before": gone[0].before,
        "after": None,
        "file": "shop.yaml",
        "line": 7,
    }


def test_of_a_first_snapshot_everything_is_added() -> None:
    assert {one.op for one in resource_changes(None, BEFORE)} == {"added"}
