"""What pydantic would have refused at construction, the encoder refuses."""

import datetime

import pytest
from envoy_data_plane.envoy.config.core.v3 import Address, Pipe, SocketAddress
from envoy_data_plane.envoy.config.route.v3 import DirectResponseAction, RetryPolicy, RouteAction, RouteMatch

from xds.compiler.encode import EncodeError, draft, encode, pack, type_url


def test_two_members_of_a_oneof_exclude_each_other() -> None:
    both = draft(Address, pipe=Pipe(path="/p"), socket_address=SocketAddress(address="127.0.0.1"))
    with pytest.raises(EncodeError, match="socket_address and pipe exclude each other"):
        encode(both)


def test_an_empty_member_of_a_oneof_is_sent() -> None:
    assert encode(draft(RouteMatch, prefix="")) == bytes(RouteMatch(prefix="")) != b""


@pytest.mark.parametrize("milliseconds", [-1, -1000])
def test_a_negative_duration_is_refused(milliseconds: int) -> None:
    with pytest.raises(EncodeError, match="negative duration"):
        encode(RouteAction(timeout=datetime.timedelta(milliseconds=milliseconds)))


def test_a_duration_of_nothing_is_told_from_no_duration() -> None:
    assert encode(RouteAction(timeout=datetime.timedelta(0))) == bytes(RouteAction(timeout=datetime.timedelta(0)))
    assert encode(RouteAction(timeout=datetime.timedelta(0))) != encode(RouteAction())


@pytest.mark.parametrize("number", [-1, 1 << 32])
def test_an_integer_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(EncodeError, match="is not within 0 and 4294967295"):
        encode(draft(DirectResponseAction, status=number))
    with pytest.raises(EncodeError, match="is not within 0 and 4294967295"):
        encode(draft(RetryPolicy, num_retries=number))


def test_a_value_of_another_type_is_refused_by_name() -> None:
    with pytest.raises(EncodeError, match=r"RouteAction\.cluster: 7"):
        encode(draft(RouteAction, cluster=7))


def test_a_draft_shares_no_list_with_another() -> None:
    first, second = draft(RouteAction), draft(RouteAction)
    first.hash_policy.append(object())  # type: ignore[arg-type]
    assert second.hash_policy == []


def test_packing_names_the_protobuf_type() -> None:
    assert type_url(RouteAction) == "type.googleapis.com/envoy.config.route.v3.RouteAction"
    packed = pack(RouteAction(cluster="c"))
    assert packed.type_url == type_url(RouteAction)
    assert packed.value == bytes(RouteAction(cluster="c"))
