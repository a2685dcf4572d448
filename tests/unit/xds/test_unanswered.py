"""What is kept of responses that a client never answers."""

from tests.unit.xds.proxies import NODE, TYPE_URLS, snapshot
from xds.protocol.delta import Delta
from xds.protocol.messages import DeltaRequest, Refused, Response
from xds.protocol.stream import Stream

ROUTES = TYPE_URLS["RDS"]


def asked(stream: Stream[DeltaRequest], names: tuple[str, ...]) -> list[Response]:
    responses = stream.receive(DeltaRequest(node=NODE, type_url=ROUTES, subscribe=names), 0.0)
    assert not isinstance(responses, Refused)
    return responses


def test_a_client_that_answers_nothing_has_so_many_names_kept_and_no_more() -> None:
    stream = Stream[DeltaRequest](Delta())
    asked(stream, ("first",))
    stream.publish(snapshot(RDS={"first": "1"}), 0.0)
    names = tuple(f"missing-{number}" for number in range(50_000))
    for _ in range(30):
        assert len(asked(stream, names)[0].removed) == 50_000
    kept = stream.subscriptions[ROUTES].in_flight.values()
    assert sum(each.response.mentions for each in kept) == 500_000


def test_the_newest_response_is_kept_however_many_names_it_holds() -> None:
    stream = Stream[DeltaRequest](Delta())
    asked(stream, ("first",))
    stream.publish(snapshot(RDS={"first": "1"}), 0.0)
    names = tuple(f"missing-{number}" for number in range(600_000))
    (newest,) = asked(stream, names)
    assert list(stream.subscriptions[ROUTES].in_flight) == [newest.nonce]
