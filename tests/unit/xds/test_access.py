"""Which node a certificate speaks for."""

import pytest

from xds.access import denial, is_private
from xds.protocol.messages import Node

NODE = Node("edge-1", "edge")


def denied(*names: str, node: Node = NODE) -> bool:
    return denial(node, {"x509_subject_alternative_name": [name.encode() for name in names]}, "bank.test") != ""


@pytest.mark.parametrize("name", ["spiffe://bank.test/gateway/edge", "spiffe://bank.test/gateway/edge/edge-1"])
def test_a_certificate_of_the_group_or_of_the_node_is_the_nodes(name: str) -> None:
    assert not denied(name)
    assert not denied("DNS:something", name)


@pytest.mark.parametrize(
    "name",
    [
        "spiffe://bank.test/gateway/other",
        "spiffe://bank.test/gateway/edge/edge-2",
        "spiffe://bank.test/gateway/edge/",
        "spiffe://bank.test/gateway/edge2",
        "spiffe://bank.test/gateway/",
        "spiffe://bank.test/gateway",
        "spiffe://elsewhere.test/gateway/edge",
        "spiffe://bank.test.evil/gateway/edge",
        "https://bank.test/gateway/edge",
        "edge",
        "",
    ],
)
def test_any_other_certificate_is_not(name: str) -> None:
    assert denied(name)


def test_a_peer_without_a_certificate_is_nobody() -> None:
    assert denial(NODE, {}, "bank.test")


def test_a_node_without_a_group_is_nobody_even_where_a_name_would_fit() -> None:
    assert denied("spiffe://bank.test/gateway/", node=Node("x", ""))


def test_a_group_that_looks_like_a_path_does_not_borrow_another_nodes_certificate() -> None:
    # The node a/b of group "edge" and the group "edge/a": the certificate of one names the other only in text.
    assert not denied("spiffe://bank.test/gateway/edge/a", node=Node("a", "edge"))
    assert denied("spiffe://bank.test/gateway/edge/a", node=Node("b", "edge/a"))


@pytest.mark.parametrize(
    ("listen", "private"),
    [
        ("127.0.0.1:0", True),
        ("127.0.0.9:18000", True),
        ("[::1]:18000", True),
        ("localhost:18000", True),
        ("unix:/run/xds.sock", True),
        ("0.0.0.0:18000", False),
        ("[::]:18000", False),
        ("10.0.0.1:18000", False),
        ("xds.example:18000", False),
        (":18000", False),
    ],
)
def test_only_loopback_and_unix_sockets_are_private(listen: str, private: bool) -> None:
    assert is_private(listen) is private
