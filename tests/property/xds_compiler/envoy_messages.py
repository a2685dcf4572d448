"""Drawn messages of Envoy's real classes: any field, any nesting, whatever protobuf can carry."""

import datetime
from collections.abc import Callable, Mapping
from typing import Any

import betterproto2
from betterproto2 import FieldMetadata, Message
from envoy_data_plane.google.protobuf import Duration, Timestamp
from hypothesis import strategies as st

_DEEPEST = 3
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def _integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return st.sampled_from([low, 0, 1, 127, 128, 300, high]) | st.integers(low, high)


_SCALARS: Mapping[str, st.SearchStrategy[Any]] = {
    betterproto2.TYPE_BOOL: st.booleans(),
    betterproto2.TYPE_INT32: _integers(32, signed=True),
    betterproto2.TYPE_INT64: _integers(64, signed=True),
    betterproto2.TYPE_UINT32: _integers(32, signed=False),
    betterproto2.TYPE_UINT64: _integers(64, signed=False),
    betterproto2.TYPE_SINT32: _integers(32, signed=True),
    betterproto2.TYPE_SINT64: _integers(64, signed=True),
    betterproto2.TYPE_FIXED32: _integers(32, signed=False),
    betterproto2.TYPE_FIXED64: _integers(64, signed=False),
    betterproto2.TYPE_SFIXED32: _integers(32, signed=True),
    betterproto2.TYPE_SFIXED64: _integers(64, signed=True),
    betterproto2.TYPE_FLOAT: st.floats(width=32, allow_nan=False),
    betterproto2.TYPE_DOUBLE: st.floats(allow_nan=False),
    betterproto2.TYPE_STRING: _TEXT,
    betterproto2.TYPE_BYTES: st.binary(max_size=6),
}

_WRAPPED: Mapping[type, st.SearchStrategy[Any]] = {
    Duration: st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=4000)),
    Timestamp: st.datetimes(timezones=st.just(datetime.UTC)),
}


def _value(kind: type[Message], name: str, meta: FieldMetadata, depth: int) -> st.SearchStrategy[Any]:
    if meta.unwrap is not None:
        wrapper = meta.unwrap()
        if wrapper in _WRAPPED:
            return _WRAPPED[wrapper]
        return _SCALARS[wrapper._betterproto.meta_by_field_name["value"].proto_type]
    if meta.proto_type == betterproto2.TYPE_ENUM:
        return st.sampled_from(list(kind._betterproto.cls_by_field[name]))
    if meta.proto_type == betterproto2.TYPE_MESSAGE:
        return messages(kind._betterproto.cls_by_field[name], depth + 1)
    return _SCALARS[meta.proto_type]


def _field(kind: type[Message], name: str, depth: int) -> st.SearchStrategy[Any]:
    meta = kind._betterproto.meta_by_field_name[name]
    if meta.map_meta is not None:
        return st.dictionaries(
            _SCALARS[meta.map_meta[0].proto_type],
            _value(kind, f"{name}.value", meta.map_meta[1], depth),
            max_size=3,
        )
    value = _value(kind, name, meta, depth)
    return st.lists(value, max_size=3) if meta.repeated else value


@st.composite
def fields_of(draw: Callable[..., Any], kind: type[Message], depth: int = 0) -> dict[str, Any]:
    """Arguments for a message class; at most one member of each oneof."""
    known = kind._betterproto.meta_by_field_name
    names = [name for name, meta in known.items() if depth < _DEEPEST or meta.proto_type != betterproto2.TYPE_MESSAGE]
    if not names:
        return {}
    chosen = draw(st.lists(st.sampled_from(names), max_size=5 if depth == 0 else 3, unique=True))
    taken: set[str] = set()
    arguments = {}
    for name in chosen:
        group = known[name].group
        if group is None or group not in taken:
            taken.add(group or "")
            arguments[name] = draw(_field(kind, name, depth))
    return arguments


def messages(kind: type[Message], depth: int = 0) -> st.SearchStrategy[Message]:
    return fields_of(kind, depth).map(lambda arguments: kind(**arguments))


def with_sorted_maps(message: Message) -> Message:
    """The same message, the keys of every map in order."""
    arguments = {}
    for name, meta in message._betterproto.meta_by_field_name.items():
        value = getattr(message, name)
        if meta.map_meta is not None:
            value = {key: _sorted(value[key]) for key in sorted(value)}
        elif meta.repeated:
            value = [_sorted(item) for item in value]
        arguments[name] = _sorted(value)
    return type(message)(**arguments)


def _sorted(value: Any) -> Any:
    return with_sorted_maps(value) if isinstance(value, Message) else value
