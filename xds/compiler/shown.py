"""Resources as people write them: what a proxy is sent, in protobuf's JSON mapping and the words of Envoy's pages.

What is shown can be written into a file and served (`xds.resources_dir`), or pasted into an Envoy's bootstrap; only
what must stay secret is not in it.
"""

import json
from typing import Final

from betterproto2 import Message
from envoy_data_plane.message_pool import default_message_pool
from pydantic import JsonValue

from xds.snapshot import SECRET

Shown = dict[str, JsonValue]
REDACTED: Final = "[redacted]"
# What of a Secret nobody else may see. Each holds DataSources, which may also be a list or a map of them.
_SECRET_FIELDS: Final = frozenset(
    {"private_key", "password", "pkcs12", "private_key_provider", "session_ticket_keys", "generic_secret"}
)


def shown(type_url: str, body: bytes, *, secrets: bool = False) -> Shown:
    """A resource with its `@type` first, messages that are packed in it taken out, private keys redacted.

    With `secrets` it is exactly what is sent. KeyError for a type that is none of Envoy's, or not loaded.
    """
    message: Message = default_message_pool.url_to_type[type_url].parse(body)
    # `casing` takes any function of a field's name: protobuf's own names are the ones in Envoy's documentation.
    # Through JSON, so that nothing but plain data is left.
    plain: Shown = json.loads(json.dumps(message.to_dict(casing=str)))  # type: ignore[arg-type]
    if type_url == SECRET and not secrets:
        plain = {field: _redacted(field, value) for field, value in plain.items()}
    return {"@type": type_url, **plain}


def _redacted(field: str, value: JsonValue) -> JsonValue:
    if field in _SECRET_FIELDS:
        return {"inline_string": REDACTED}
    if isinstance(value, dict):
        return {name: _redacted(name, inner) for name, inner in value.items()}
    return [_redacted(field, inner) for inner in value] if isinstance(value, list) else value
