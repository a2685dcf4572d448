"""Plain Envoy resources, as people write them in YAML or JSON, to what a proxy is sent."""

import importlib
from collections.abc import Iterator, Mapping

from betterproto2 import Message
from envoy_data_plane.message_pool import default_message_pool

from xds import snapshot
from xds.compiler.encode import EncodeError, encode
from xds.snapshot import Resource

_PREFIX = "type.googleapis.com/"
_TYPE = "@type"
# The field that names a resource of the type.
_NAMED_BY: Mapping[str, str] = {snapshot.ENDPOINT: "cluster_name"}


class PlainResourceError(ValueError):
    """Something that is no resource; the text says what was found and what was expected."""


def plain_resource(written: Mapping[str, object]) -> tuple[str, Resource]:
    """The type URL and the resource of one entry: `{"@type": TYPE, "name": NAME, ...}`, in protobuf's JSON mapping.

    Raises PlainResourceError.
    """
    type_url = written.get(_TYPE)
    if type_url not in snapshot.SHORT_NAMES or not isinstance(type_url, str):
        known = ", ".join(sorted(one.removeprefix(_PREFIX) for one in snapshot.SHORT_NAMES))
        raise PlainResourceError(
            f"@type {type_url!r} is no resource that is served; expected {_PREFIX} and one of {known}"
        )
    for named in _types_in(written):
        _load(named)
    fields = {key: value for key, value in written.items() if key != _TYPE}
    try:
        message: Message = default_message_pool.url_to_type[type_url].from_dict(fields)
        body = encode(message)
    except (KeyError, EncodeError, ValueError, TypeError, AttributeError) as error:
        # A KeyError's text is the repr of its argument.
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise PlainResourceError(str(text).splitlines()[0]) from error
    name = getattr(message, _NAMED_BY.get(type_url, "name"))
    if not name:
        raise PlainResourceError(f"the resource has no {_NAMED_BY.get(type_url, 'name')}")
    return type_url, Resource.of(name, body)


def _types_in(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        named = value.get(_TYPE)
        if isinstance(named, str):
            yield named
        for inner in value.values():
            yield from _types_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _types_in(inner)


def _load(type_url: str) -> None:
    """Import the module of a type, so that the message pool knows it."""
    package = type_url.removeprefix(_PREFIX).rpartition(".")[0]
    # What is imported here is written in a file: a package of protobuf names and nothing else.
    if not package or not package.replace(".", "").replace("_", "").isalnum():
        raise PlainResourceError(f"@type {type_url!r} is no protobuf type")
    try:
        importlib.import_module(f"envoy_data_plane.{package}")
    except ImportError as error:
        raise PlainResourceError(f"@type {type_url!r} is not a type of Envoy's") from error
    if type_url not in default_message_pool.url_to_type:
        raise PlainResourceError(f"@type {type_url!r} is not a type of Envoy's")
