"""The snapshot: content decides the version, and nothing can be changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.snapshot import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    PUSH_ORDER,
    SHORT_NAMES,
    Origin,
    Resource,
    ResourceSet,
    Snapshot,
    digest,
    digest_of,
)

A, B = Resource.of("a", b"1"), Resource.of("b", b"2")


def test_equal_content_has_equal_versions_whatever_its_order_and_origin() -> None:
    moved = Resource.of("b", b"2", Origin("elsewhere.yaml", 7))
    one, other = Snapshot.of([(CLUSTER, A), (CLUSTER, B)]), Snapshot.of([(CLUSTER, moved), (CLUSTER, A)])
    assert one.version == other.version
    assert one.versions == other.versions


def test_a_changed_body_changes_the_resource_its_type_and_the_snapshot_and_no_other_type() -> None:
    one = Snapshot.of([(CLUSTER, A), (LISTENER, B)])
    other = Snapshot.of([(CLUSTER, Resource.of("a", b"changed")), (LISTENER, B)])
    assert one.version != other.version
    assert one.versions[CLUSTER] != other.versions[CLUSTER]
    assert one.versions[LISTENER] == other.versions[LISTENER]


def test_the_same_resource_under_another_type_is_another_snapshot() -> None:
    assert Snapshot.of([(CLUSTER, A)]).version != Snapshot.of([(ENDPOINT, A)]).version


def test_two_resources_of_one_type_and_name_are_refused_and_of_two_types_are_not() -> None:
    with pytest.raises(ValueError, match="'a'"):
        Snapshot.of([(CLUSTER, A), (CLUSTER, Resource.of("a", b"2"))])
    assert len(list(Snapshot.of([(CLUSTER, A), (ENDPOINT, A)]))) == 2


def test_nothing_in_a_snapshot_can_be_changed() -> None:
    snapshot = Snapshot.of([(CLUSTER, A)])
    with pytest.raises(TypeError):
        snapshot.resources[CLUSTER]["b"] = B  # type: ignore[index]
    with pytest.raises(TypeError):
        snapshot.resources[LISTENER] = {}  # type: ignore[index]
    with pytest.raises(AttributeError):
        snapshot.version = ""  # type: ignore[misc]


def test_a_type_that_is_not_there_is_an_empty_set_with_a_version_of_its_own() -> None:
    empty = Snapshot.of([(CLUSTER, A)]).of_type(LISTENER)
    assert (empty, dict(empty.resources)) == (ResourceSet.of(()), {})
    assert empty.version


def test_a_version_is_32_hex_digits_of_the_bytes() -> None:
    assert A.version == digest(b"1")
    assert len(A.version) == 32
    assert int(A.version, 16)


@given(
    st.dictionaries(st.text(max_size=4), st.text(max_size=4)), st.dictionaries(st.text(max_size=4), st.text(max_size=4))
)
def test_sets_have_equal_versions_exactly_when_they_are_equal(one: dict[str, str], other: dict[str, str]) -> None:
    assert (digest_of(one.items()) == digest_of(other.items())) == (one == other)


def test_every_type_is_pushed_after_what_it_refers_to() -> None:
    assert [SHORT_NAMES[type_url] for type_url in PUSH_ORDER] == [
        "CDS", "EDS", "LEDS", "LDS", "RDS", "SRDS", "VHDS", "SDS", "ECDS", "RTDS",
    ]  # fmt: skip


def test_aliases_and_a_ttl_are_part_of_the_version_as_they_are_sent_along() -> None:
    plain = Resource.of("a", b"1")
    versions = {
        plain.version,
        Resource.of("a", b"1", ttl=30.0).version,
        Resource.of("a", b"1", ttl=60.0).version,
        Resource.of("a", b"1", aliases=["x"]).version,
    }
    assert len(versions) == 4
    assert Resource.of("a", b"1", aliases=["x", "y"]) == Resource.of("a", b"1", aliases=["y", "x", "y"])
