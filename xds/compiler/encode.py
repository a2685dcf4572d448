"""Envoy's messages to protobuf bytes, fast and the same every time.

`bytes()` of an envoy-data-plane message builds a pydantic validator per message and keeps a map's insertion order: it
takes milliseconds for a route, and equal messages can differ in bytes. `encode` writes the same bytes with sorted map
keys from a plan that is made once per class out of betterproto2's field metadata.

`draft` makes a message without pydantic's validation. What that would have found is found elsewhere: unknown fields
and wrong types by mypy, two members of a oneof and integers out of range by `encode`.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from datetime import timedelta
from operator import itemgetter
from typing import Final, NamedTuple, ParamSpec, Self, TypeVar, cast

import betterproto2
from betterproto2 import FieldMetadata, Message
from envoy_data_plane.google.protobuf import Any as PackedMessage
from envoy_data_plane.google.protobuf import Duration, Timestamp
from envoy_data_plane.message_pool import default_message_pool

Fields = ParamSpec("Fields")
SomeMessage = TypeVar("SomeMessage", bound=Message)

# Takes the value of a field and gives its bytes; what the value must be follows from the field.
_Write = Callable[..., bytes]

# Where betterproto2 keeps the fields that a message came with and its class does not know.
_UNKNOWN: Final = "_unknown_fields"


class EncodeError(ValueError):
    """A message that protobuf cannot carry, or that Envoy would read as another."""


def type_url(cls: type[Message]) -> str:
    """`type.googleapis.com/` and the full protobuf name of a message class."""
    return default_message_pool.type_to_url[cls]


def pack(message: Message) -> PackedMessage:
    """A message as google.protobuf.Any."""
    return draft(PackedMessage, type_url=type_url(type(message)), value=encode(message))


def draft(cls: Callable[Fields, SomeMessage], *_: Fields.args, **given: Fields.kwargs) -> SomeMessage:
    """A message of a class from keyword arguments, ten times faster than its constructor, and unvalidated."""
    kind = cast(type[SomeMessage], cls)
    plan = _plan(kind)
    message = kind.__new__(kind)
    message.__dict__ = {**plan.zeros, **{name: empty() for name, empty in plan.containers}, **given}
    return message


def entry(cls: type[Message], field: str, body: bytes) -> bytes:
    """One item of a repeated message field of that class, from bytes that `encode` has given."""
    (meta,) = [FieldMetadata.get(one) for one in _fields(cls) if one.name == field]
    return _delimited(meta.number, bytes)(body)


def entries(item: type[SomeMessage], encoded: Iterable[bytes]) -> list[SomeMessage]:
    """What `entry` has given, to stand as the items of that field in a draft: nothing of it is encoded again."""
    del item
    return cast(list[SomeMessage], _Entries(b"".join(encoded)))


class _Entries(bytes):
    """A repeated field as it is sent, in the place of the list."""


def encode(message: Message) -> bytes:
    """The protobuf bytes of a message, maps in the order of their keys. Raises EncodeError."""
    plan = _plan(type(message))
    parts: list[bytes] = []
    chosen: dict[str, str] = {}
    for value, field in zip(plan.values(message.__dict__), plan.fields, strict=True):
        if value is None:
            continue
        name, presence, group, write = field
        # Message.__bool__ compares all fields, so a field with presence must not come to `not value`.
        if not presence and not value:
            continue
        if group is not None and chosen.setdefault(group, name) != name:
            raise EncodeError(f"{type(message).__name__}: {chosen[group]} and {name} exclude each other")
        try:
            parts.append(write(value))
        except (TypeError, AttributeError, struct.error) as error:
            raise EncodeError(f"{type(message).__name__}.{name}: {value!r}: {error}") from error
    parts.append(message.__dict__[_UNKNOWN])
    return b"".join(parts)


class _Field(NamedTuple):
    name: str
    # Whether a zero is sent: messages, wrappers, members of oneofs and `optional` fields tell it from nothing.
    presence: bool
    group: str | None
    write: _Write


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one class is written, in the order of its declaration, which is the order of `bytes()`."""

    fields: tuple[_Field, ...]
    values: Callable[[Mapping[str, object]], tuple[object, ...]]
    zeros: Mapping[str, object]
    containers: tuple[tuple[str, Callable[[], object]], ...]

    @classmethod
    def of(cls, kind: type[Message]) -> Self:
        known = _fields(kind)
        defaults = {one.name: one.default_factory for one in known if one.default_factory is not MISSING}
        values = {name: default() for name, default in defaults.items()}
        containers = {name for name, value in values.items() if isinstance(value, (list, dict))}
        names = tuple(values)
        fetch = itemgetter(*names) if len(names) > 1 else lambda values: tuple(values[name] for name in names)
        return cls(
            fields=tuple(_field(one.name, FieldMetadata.get(one)) for one in known),
            values=fetch,
            zeros={name: value for name, value in values.items() if name not in containers} | {_UNKNOWN: b""},
            containers=tuple((name, defaults[name]) for name in names if name in containers),
        )


def _fields(kind: type[Message]) -> tuple[Field[object], ...]:
    # Messages are dataclasses only by what their decorators add.
    return fields(kind)  # type: ignore[arg-type]


_plans: Final[dict[type[Message], _Plan]] = {}


def _plan(kind: type[Message]) -> _Plan:
    plan = _plans.get(kind)
    if plan is None:
        plan = _plans[kind] = _Plan.of(kind)
    return plan


def _field(name: str, meta: FieldMetadata) -> _Field:
    if meta.map_meta is not None:
        return _Field(name, False, meta.group, _map(meta.number, *meta.map_meta))
    if meta.repeated:
        write = _packed(meta) if meta.proto_type in _SCALARS else _unpacked(_single(meta))
        return _Field(name, False, meta.group, write)
    presence = bool(meta.optional or meta.group or meta.proto_type == betterproto2.TYPE_MESSAGE)
    return _Field(name, presence, meta.group, _single(meta))


def _varint(value: int) -> bytes:
    if value < 0x80:
        return _ONE_BYTE[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_ONE_BYTE: Final = tuple(bytes([value]) for value in range(0x80))


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _integer(lowest: int, highest: int, convert: Callable[[int], int] = int) -> _Write:
    def write(value: int) -> bytes:
        if not lowest <= value <= highest:
            raise EncodeError(f"{value} is not within {lowest} and {highest}")
        return _varint(convert(value))

    return write


def _signed(bits: int, convert: Callable[[int], int]) -> _Write:
    return _integer(-(1 << bits - 1), (1 << bits - 1) - 1, convert)


def _twos_complement(value: int) -> int:
    return value & 0xFFFF_FFFF_FFFF_FFFF


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else ~(value << 1)


# How a scalar is written, and its wire type (https://protobuf.dev/programming-guides/encoding/).
_SCALARS: Final[Mapping[str, tuple[int, _Write]]] = {
    betterproto2.TYPE_ENUM: (betterproto2.WIRE_VARINT, _signed(32, _twos_complement)),
    betterproto2.TYPE_BOOL: (betterproto2.WIRE_VARINT, _integer(0, 1)),
    betterproto2.TYPE_INT32: (betterproto2.WIRE_VARINT, _signed(32, _twos_complement)),
    betterproto2.TYPE_INT64: (betterproto2.WIRE_VARINT, _signed(64, _twos_complement)),
    betterproto2.TYPE_UINT32: (betterproto2.WIRE_VARINT, _integer(0, (1 << 32) - 1)),
    betterproto2.TYPE_UINT64: (betterproto2.WIRE_VARINT, _integer(0, (1 << 64) - 1)),
    betterproto2.TYPE_SINT32: (betterproto2.WIRE_VARINT, _signed(32, _zigzag)),
    betterproto2.TYPE_SINT64: (betterproto2.WIRE_VARINT, _signed(64, _zigzag)),
    betterproto2.TYPE_FLOAT: (betterproto2.WIRE_FIXED_32, struct.Struct("<f").pack),
    betterproto2.TYPE_DOUBLE: (betterproto2.WIRE_FIXED_64, struct.Struct("<d").pack),
    betterproto2.TYPE_FIXED32: (betterproto2.WIRE_FIXED_32, struct.Struct("<I").pack),
    betterproto2.TYPE_FIXED64: (betterproto2.WIRE_FIXED_64, struct.Struct("<Q").pack),
    betterproto2.TYPE_SFIXED32: (betterproto2.WIRE_FIXED_32, struct.Struct("<i").pack),
    betterproto2.TYPE_SFIXED64: (betterproto2.WIRE_FIXED_64, struct.Struct("<q").pack),
}


def _single(meta: FieldMetadata) -> _Write:
    if meta.proto_type in _SCALARS:
        wire_type, scalar = _SCALARS[meta.proto_type]
        scalar_tag = _tag(meta.number, wire_type)
        return lambda value: scalar_tag + scalar(value)
    return _delimited(meta.number, _body(meta))


def _delimited(number: int, body_of: _Write) -> _Write:
    tag = _tag(number, betterproto2.WIRE_LEN_DELIM)

    def write(value: object) -> bytes:
        body = body_of(value)
        return tag + _varint(len(body)) + body

    return write


def _body(meta: FieldMetadata) -> _Write:
    if meta.proto_type == betterproto2.TYPE_STRING:
        return str.encode
    if meta.proto_type == betterproto2.TYPE_BYTES:
        return bytes
    if meta.unwrap is None:
        return encode
    wrapper = cast(type[Message], meta.unwrap())
    if issubclass(wrapper, Duration):
        return _duration
    if issubclass(wrapper, Timestamp):
        return lambda value: encode(Timestamp.from_wrapped(value))
    # google.protobuf.BoolValue and its like: one field, of which a zero is not sent.
    return lambda value: encode(draft(cast(Callable[..., Message], wrapper), value=value))


def _duration(value: timedelta) -> bytes:
    # envoy-data-plane writes -1 ms as +0.999 s, and no duration that we set may be negative.
    if value < timedelta(0):
        raise EncodeError(f"{value} is a negative duration")
    return encode(draft(Duration, seconds=value.days * 86_400 + value.seconds, nanos=value.microseconds * 1_000))


def _packed(meta: FieldMetadata) -> _Write:
    _, scalar = _SCALARS[meta.proto_type]
    return _delimited(meta.number, lambda values: b"".join([scalar(value) for value in values]))


def _unpacked(single: _Write) -> _Write:
    def write(values: object) -> bytes:
        if isinstance(values, _Entries):
            return values
        return b"".join([single(value) for value in cast(Iterable[object], values)])

    return write


def _map(number: int, key_meta: FieldMetadata, value_meta: FieldMetadata) -> _Write:
    key_of, value_of = _single(key_meta), _single(value_meta)
    entry = _delimited(number, lambda item: key_of(item[0]) + value_of(item[1]))

    def write(entries: Mapping[str, object]) -> bytes:
        return b"".join([entry((key, entries[key])) for key in sorted(entries)])

    return write
