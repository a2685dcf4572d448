"""How large a response is on the wire, and what to do with one that the client could not receive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Final, TypeVar

from xds.protocol.dialect import Draft
from xds.snapshot import Resource

# A response's own fields, and those of each of its resources beside name and body; both rather too large.
_RESPONSE_OVERHEAD: Final = 512
_RESOURCE_OVERHEAD: Final = 256
_NAME_OVERHEAD: Final = 8

ItemT = TypeVar("ItemT")


def size_of(draft: Draft, *, bare: bool = False) -> int:
    """In bytes, at most; `bare` without the bodies."""
    resources = sum(_resource_size(each, bare=bare) for each in draft.resources)
    return (
        _RESPONSE_OVERHEAD + resources + sum(map(_name_size, draft.removed)) + sum(map(_alias_size, draft.unresolved))
    )


def parts_of(draft: Draft, limit: int | None, *, bare: bool = False) -> list[Draft]:
    """The draft in parts below `limit` bytes, each resource whole; one that alone exceeds it is a part of its own."""
    if limit is None or size_of(draft, bare=bare) <= limit:
        return [draft]
    room = limit - _RESPONSE_OVERHEAD
    whole = replace(draft, resources=(), removed=(), unresolved=())
    brought = _batches(draft.resources, lambda each: _resource_size(each, bare=bare), room)
    return [
        *(replace(whole, resources=each) for each in brought),
        *(replace(whole, removed=each) for each in _batches(draft.removed, _name_size, room)),
        *(replace(whole, unresolved=each) for each in _batches(draft.unresolved, _alias_size, room)),
    ]


def unfit(draft: Draft, limit: int, taken: Mapping[str, Resource]) -> tuple[Resource, ...]:
    """The fewest resources of an undivided draft without whose new content the rest is within `limit` bytes.

    `taken` is what the client has, by name, and goes on with in place of what is left out. Of as few, those that it
    has never had are left out before changes of those that it has, and then the largest. All that is new if even that
    is not enough.
    """
    new = [each for each in draft.resources if each.name not in taken or taken[each.name].version != each.version]
    saved = {each.name: _resource_size(each, bare=False) - _former_size(taken.get(each.name)) for each in new}
    excess = size_of(draft) - limit
    ranked = sorted((each for each in new if saved[each.name] > 0), key=lambda each: (-saved[each.name], each.name))
    additions = [each for each in ranked if each.name not in taken]
    changes = [each for each in ranked if each.name in taken]
    by_all, by_additions, by_changes = (
        [0, *accumulate(saved[each.name] for each in some)] for some in (ranked, additions, changes)
    )
    count = next((count for count, total in enumerate(by_all) if total >= excess), None)
    if count is None:
        return tuple(new)
    first, last = max(0, count - len(additions)), min(count, len(changes))
    also = next(also for also in range(first, last + 1) if by_additions[count - also] + by_changes[also] >= excess)
    return (*additions[: count - also], *changes[:also])


def _former_size(former: Resource | None) -> int:
    return 0 if former is None else _resource_size(former, bare=False)


def _batches(items: Iterable[ItemT], size: Callable[[ItemT], int], room: int) -> Iterator[tuple[ItemT, ...]]:
    batch: list[ItemT] = []
    left = room
    for item in items:
        if batch and size(item) > left:
            yield tuple(batch)
            batch, left = [], room
        batch.append(item)
        left -= size(item)
    if batch:
        yield tuple(batch)


def _resource_size(resource: Resource, *, bare: bool) -> int:
    names = 2 * len(resource.name.encode()) + sum(map(_name_size, resource.aliases))
    return _RESOURCE_OVERHEAD + names + (0 if bare else len(resource.body))


def _name_size(name: str) -> int:
    return len(name.encode()) + _NAME_OVERHEAD


def _alias_size(name: str) -> int:
    return 2 * _name_size(name) + _NAME_OVERHEAD
