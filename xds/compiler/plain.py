"""Plain Envoy resources, as people write them in YAML or JSON, to what a proxy is sent."""

import importlib
import re
from collections.abc import Iterator, Mapping

from betterproto2 import Message
from envoy_data_plane.message_pool import default_message_pool

from xds import snapshot
from xds.compiler import field_names
from xds.compiler.encode import EncodeError, encode
from xds.compiler.references import references
from xds.snapshot import Resource

_PREFIX = "type.googleapis.com/"
_TYPE = "@type"
# The field that names a resource of the type; "" where there is none.
_NAMED_BY: Mapping[str, str] = {snapshot.ENDPOINT: "cluster_name", snapshot.LOCALITY_ENDPOINT: ""}

_WRAPPER = _PREFIX + "envoy.service.discovery.v3.Resource"
_WRAPPER_FIELDS = frozenset({_TYPE, "name", "ttl", "aliases", "resource"})
# They are served under another name than their own: `ROUTE CONFIGURATION/HOST`, or that of a collection's member.
_NAMED_APART = frozenset({snapshot.VIRTUAL_HOST, snapshot.LOCALITY_ENDPOINT})
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?s")

field_names.repair()


class PlainResourceError(ValueError):
    """Something that is no resource; the text says what was found and what was expected."""


def plain_resource(written: Mapping[str, object]) -> tuple[str, Resource]:
    """The type URL and the resource of one entry: `{"@type": TYPE, "name": NAME, ...}`, in protobuf's JSON mapping.

    An `envoy.service.discovery.v3.Resource` around it gives it a `ttl`, `aliases` or another `name`. Its needs may be
    met elsewhere than among the other resources. Raises PlainResourceError.
    """
    if written.get(_TYPE) != _WRAPPER:
        return _resource(written)
    if unknown := sorted(written.keys() - _WRAPPER_FIELDS):
        raise PlainResourceError(f"Unknown field {unknown[0]!r}; expected name, ttl, aliases and resource")
    inner = written.get("resource")
    if not isinstance(inner, Mapping):
        raise PlainResourceError('the field resource is missing; expected {"@type": ..., ...}')
    name = written.get("name") or ""
    if not isinstance(name, str):
        raise PlainResourceError(f"name {name!r} is no text")
    type_url, resource = _resource(inner, name)
    aliases = _aliases(written.get("aliases"), type_url)
    ttl = _ttl(written.get("ttl"))
    return type_url, Resource.of(resource.name, resource.body, None, resource.needs, aliases, ttl)


def _resource(written: Mapping[str, object], wrapped_as: str = "") -> tuple[str, Resource]:
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
    named_by = _NAMED_BY.get(type_url, "name")
    own = getattr(message, named_by) if named_by else ""
    if wrapped_as and own not in ("", wrapped_as) and type_url not in _NAMED_APART:
        raise PlainResourceError(f"the resource is named {wrapped_as!r} outside and {own!r} inside")
    name = wrapped_as or own
    if not name:
        missing = named_by or f"name of its own; expected it in an {_WRAPPER.removeprefix(_PREFIX)} around it"
        raise PlainResourceError(f"the resource has no {missing}")
    return type_url, Resource.of(name, body, needs=sorted(references(type_url, written)))


def _aliases(written: object, type_url: str) -> list[str]:
    if written is None:
        return []
    if type_url != snapshot.VIRTUAL_HOST:
        raise PlainResourceError("aliases are for virtual hosts, which are asked for by host")
    if not isinstance(written, list) or not all(isinstance(each, str) and each for each in written):
        raise PlainResourceError(f"aliases {written!r} is no list of names")
    return written


def _ttl(written: object) -> float | None:
    if written is None:
        return None
    seconds = float(written[:-1]) if isinstance(written, str) and _SECONDS.fullmatch(written) else 0.0
    if seconds < 1.0:
        raise PlainResourceError(f"ttl {written!r} is no time to live; expected seconds such as 30s, at least 1s")
    return seconds


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
