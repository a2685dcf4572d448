"""Bodies: nothing raises, and what is read every other reader of JSON reads alike."""

import json
from math import isfinite

import orjson
from pydantic import JsonValue

from authz.strict_json import MAX_DEPTH, Malformed, read_json
from tests.fuzz.again import run_again

RULES = {"encoding", "syntax", "duplicate_name", "number", "depth", "count"}


def judge(octets: bytes) -> None:
    """Raises where a promise is broken."""
    found = read_json(octets)
    if isinstance(found, Malformed):
        assert found.rule in RULES
        return
    # The standard library's reader, which would let NaN and duplicates pass, and one that is written in Rust.
    _alike(found, json.loads(octets), 0)
    _alike(found, orjson.loads(octets), 0)
    names: list[str] = []
    json.loads(octets, object_pairs_hook=lambda pairs: names.extend(_repeated(pairs)))
    assert names == []
    # What is written and read once more is the same.
    assert read_json(orjson.dumps(found)) == found


def _repeated(pairs: list[tuple[str, object]]) -> list[str]:
    return [name for at, (name, _) in enumerate(pairs) if name in {other for other, _ in pairs[:at]}]


def _alike(one: JsonValue, other: object, depth: int) -> None:
    """Equal with their types, since 1, 1.0 and true are equal without."""
    assert type(one) is type(other)
    if isinstance(one, dict) and isinstance(other, dict):
        assert depth < MAX_DEPTH
        assert list(one) == list(other)
        for name, value in one.items():
            _alike(value, other[name], depth + 1)
    elif isinstance(one, list) and isinstance(other, list):
        assert depth < MAX_DEPTH
        assert len(one) == len(other)
        for value, another in zip(one, other, strict=True):
            _alike(value, another, depth + 1)
    else:
        assert one == other
        assert not isinstance(one, float) or isfinite(one)
        assert not isinstance(one, int) or abs(one) < 2**53
        if isinstance(one, str):
            one.encode()


if __name__ == "__main__":
    run_again(judge)
