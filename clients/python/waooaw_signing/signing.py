"""The signature of one request: what is covered, how it is written down, and the three header fields."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

LABEL = "sig1"
ALGORITHM = "hmac-sha256"
TAG = "waooaw-agent"
COMPONENTS = ("@method", "@authority", "@path", "@query", "content-digest")

_DEFAULT_PORTS = {"https": 443, "http": 80}
_URL = re.compile(r"[\x21-\x7e]+")
_STRING = re.compile(r"[\x20-\x7e]*")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


def sign(
    method: str,
    url: str,
    body: bytes,
    agent_id: str,
    secret: bytes | str,
    created: int | None = None,
    nonce: str | None = None,
) -> dict[str, str]:
    """The header fields `content-digest`, `signature-input` and `signature` of one request.

    `url` is the whole URL as it will be sent, percent-encoded where it has to be; `body` the octets that will be
    sent, empty where there are none; `secret` the agent's secret as it was given out, raw. `created` (seconds since
    the epoch) and `nonce` are chosen unless given. Raises ValueError for what cannot be signed.
    """
    if not _URL.fullmatch(url):
        raise ValueError("the URL must be percent-encoded ASCII")
    digest = content_digest(body)
    parameters: dict[str, str | int] = {
        "created": int(time.time()) if created is None else created,
        "nonce": secrets.token_urlsafe(24) if nonce is None else nonce,
        "keyid": agent_id,
        "alg": ALGORITHM,
        "tag": TAG,
    }
    covered = signature_parameters(COMPONENTS, parameters)
    base = signature_base({**_derived(method, url), "content-digest": digest}, COMPONENTS, covered)
    return {
        "content-digest": digest,
        "signature-input": f"{LABEL}={covered}",
        "signature": f"{LABEL}=:{signature(base, secret)}:",
    }


def content_digest(body: bytes) -> str:
    """The value of Content-Digest (RFC 9530 §2)."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def signature(base: str, secret: bytes | str) -> str:
    """HMAC-SHA-256 of a signature base in base64 (RFC 9421 §3.3.3)."""
    key = secret.encode() if isinstance(secret, str) else secret
    return base64.b64encode(hmac.new(key, base.encode(), hashlib.sha256).digest()).decode()


def signature_parameters(components: Sequence[str], parameters: Mapping[str, str | int]) -> str:
    """The value of @signature-params: what is covered, then the parameters in their order (RFC 9421 §2.3)."""
    listed = " ".join(_quoted(name) for name in components)
    written = (f";{name}={value if isinstance(value, int) else _quoted(value)}" for name, value in parameters.items())
    return f"({listed})" + "".join(written)


def signature_base(values: Mapping[str, str], components: Sequence[str], parameters: str) -> str:
    """The text that is signed (RFC 9421 §2.5). `values` holds that of each component."""
    lines = [f"{_quoted(name)}: {values[name]}" for name in components]
    return "\n".join([*lines, f'"@signature-params": {parameters}'])


def _quoted(text: str) -> str:
    if not _STRING.fullmatch(text):
        raise ValueError("agent ids and nonces are printable ASCII")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _derived(method: str, url: str) -> dict[str, str]:
    parts = urlsplit(url)
    if parts.scheme.lower() not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError("the URL must start with https://HOST or http://HOST")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port
    explicit = port is not None and port != _DEFAULT_PORTS[parts.scheme.lower()]
    return {
        # Methods are sent, and compared, in capitals.
        "@method": method.upper(),
        "@authority": f"{host}:{port}" if explicit else host,
        "@path": normal_path(parts.path),
        # RFC 9421 §2.2.7: the `?` belongs to it, and stands alone where there is no query.
        "@query": "?" + parts.query,
    }


def normal_path(path: str) -> str:
    """The path as the gateway sees it after it has normalised it (RFC 3986 §6.2.2), with single slashes."""
    decoded = _ESCAPE.sub(_decode_unreserved, path)
    kept: list[str] = []
    segments = [segment for segment in decoded.split("/") if segment]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    open_end = decoded.endswith("/") or (bool(segments) and segments[-1] in {".", ".."})
    return "/" + "/".join(kept) + ("/" if kept and open_end else "")


def _decode_unreserved(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if _UNRESERVED.fullmatch(character) else escape[0]
