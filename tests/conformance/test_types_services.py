"""The table of types in docs/conformance.md over gRPC: who offers what, and names that mean nothing."""

from collections.abc import Callable

import pytest

from tests.conformance.talks import ALL, DELTA, TYPES, Served, Talk, cells

Open = Callable[..., Talk]


@cells(ALL, TYPES)
async def test_types_each_is_served_by_its_own_service_and_by_the_aggregated_one(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    said = await stream.take()
    assert (said.short, said.resources) == (short, {"A": "v1"})
    await stream.ends_silently()


@cells(ALL, TYPES)
async def test_xdstp_a_uniform_name_is_a_name_like_any_other(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    name = f"xdstp://bank.test/{short}/a/b?zone=1&stage=two"
    served.types[short] = {name: "v1"}
    served.set(short, **{name.partition("?")[0]: "v1"})
    stream = talk(variant, short)
    await stream.subscribe(name)
    said = await stream.take()
    assert said.resources == {name: "v1"}
    # Fields that Envoy's own protocol hides as not implemented are left alone.
    assert not said.message.resource_errors
    await stream.ends_silently()


@pytest.mark.parametrize("variant", DELTA)
async def test_vhds_a_first_request_without_names_gets_the_hosts_that_have_no_alias(
    served: Served, talk: Open, variant: str
) -> None:
    served.set("VHDS", always="v1")
    stream = talk(variant, "VHDS")
    await stream.subscribe()
    assert (await stream.take()).resources == {"always": "v1"}
    await stream.ends_silently()


@pytest.mark.parametrize("variant", DELTA)
async def test_leds_a_locality_is_a_collection_whose_members_come_one_by_one(
    served: Served, talk: Open, variant: str
) -> None:
    served.set("LEDS", **{"pool/1": "v1", "pool/2": "v1", "other/1": "v1"})
    stream = talk(variant, "LEDS")
    await stream.subscribe("pool/*")
    assert await stream.collect(["pool/1", "pool/2"]) == {"pool/1": "v1", "pool/2": "v1"}
    served.set("LEDS", **{"pool/2": "v2"})
    assert (await stream.take()).resources == {"pool/2": "v2"}
    await stream.ends_silently()
