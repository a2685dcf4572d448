"""Which addresses may be set as endpoints while the control plane runs."""

import pytest

from apibank.endpoint_desk import _checked
from portal.problems import Refused


@pytest.mark.parametrize("endpoint", ["169.254.169.254:80", "0.0.0.0:8080", "[fe80::1]:80", "100.100.100.200:80"])
def test_an_address_where_no_service_may_be_is_refused(endpoint: str) -> None:
    with pytest.raises(Refused) as refused:
        _checked(["10.0.0.1:8080", endpoint])
    assert (refused.value.status, refused.value.code) == (422, "endpoint_invalid")
    assert "/endpoints/1" in str(refused.value)


def test_an_address_of_a_service_may_be_set() -> None:
    assert _checked(["10.0.0.1:8080", "10.0.0.1:8080", "127.0.0.1:9000"]) == ("10.0.0.1:8080", "127.0.0.1:9000")
