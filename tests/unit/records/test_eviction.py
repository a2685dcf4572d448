"""What `INFO memory` says of a store that throws keys away."""

import pytest

from records.eviction import evicting_policy, memory_facts

SAID = b"# Memory\r\nused_memory:1025264\r\nmaxmemory:67108864\r\nmaxmemory_policy:allkeys-lru\r\n"


def test_a_bound_and_a_policy_that_evicts_is_said_by_its_name() -> None:
    assert evicting_policy(memory_facts(SAID)) == "allkeys-lru"
    assert evicting_policy(memory_facts(SAID.decode())) == "allkeys-lru"


@pytest.mark.parametrize(
    "memory",
    [
        {},
        {"maxmemory_policy": "noeviction", "maxmemory": 64},
        {"maxmemory_policy": "allkeys-lru", "maxmemory": 0},
        {"maxmemory_policy": "allkeys-lru", "maxmemory": "0"},
        memory_facts(b"not what was asked for"),
    ],
)
def test_what_keeps_its_keys_or_does_not_say_is_not_told_of(memory: dict[str, object]) -> None:
    assert not evicting_policy(memory)
