"""An address is one text, and is in the networks that hold it however both are written."""

import pytest

from authz.addresses import AllowList, counted, read_address


@pytest.mark.parametrize(
    ("network", "address", "admitted"),
    [
        ("192.0.2.0/24", "192.0.2.7", True),
        ("192.0.2.0/24", "::ffff:192.0.2.7", True),
        ("::ffff:192.0.2.0/120", "192.0.2.7", True),
        ("::ffff:192.0.2.0/120", "::ffff:c000:207", True),
        ("::ffff:192.0.2.0/120", "192.0.3.7", False),
        ("::ffff:0:0/96", "192.0.2.7", True),
        ("::/0", "192.0.2.7", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("192.0.2.0/24", "::192.0.2.7", False),
    ],
)
def test_ipv4_in_ipv6_clothes_is_ipv4(network: str, address: str, admitted: bool) -> None:
    assert AllowList.of([network]).admits(read_address(address)) is admitted


@pytest.mark.parametrize(
    "text",
    ["", " 192.0.2.7", "192.0.2.7 ", "192.0.2.07", "192.0.2", "192.0.2.7:80", "[::1]", "::1%eth0", "1", "localhost",
     "192.0.2.7,10.0.0.1", "\u0661.2.3.4", "::1" + "0" * 64],
)  # fmt: skip
def test_what_is_not_exactly_one_address_is_none_and_is_on_no_list(text: str) -> None:
    assert read_address(text) is None
    assert not AllowList.of(["0.0.0.0/0", "::/0"]).admits(read_address(text))
    assert counted(read_address(text)) == ""
