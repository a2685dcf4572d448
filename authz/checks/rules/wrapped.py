"""What a text says that is not written in letters: escapes, markup, base64 and hexadecimal. All linear in the text."""

import base64
import binascii
import html
import re
from typing import Final
from urllib.parse import unquote

import re2

from policy.rules import pattern_options

# What is left out of a text on its way to a reader: comments and tags.
_MARKUP: Final = re2.compile(r"(?s:<!--.*?-->|/\*.*?\*/|</?[a-z][^<>]*>)", pattern_options())
# As JSON, JavaScript and C write a character.
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|u\{([0-9A-Fa-f]{1,6})\})")
_HIGHEST: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_BASE64_SPLIT: Final = re.compile(r"[A-Za-z0-9+/_=\s.,;:|-]{12,}")
_NO_BASE64: Final = re.compile(r"[\s.,;:|]+")
_SHORTEST: Final = 12
# Words have no capitals inside; base64 of any text has.
_MIXED_CASE: Final = re.compile("[a-z0-9][A-Z]")
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2}[ :]?){8,}")
_NO_HEX: Final = re.compile("[ :]")
_CONTROL: Final = re.compile("[\x01-\x08\x0e-\x1f\x7f-\x9f]")


def without_markup(text: str) -> str:
    """The text without comments and tags."""
    return str(_MARKUP.sub("", text)) if "<" in text or "/*" in text else text


def unescaped(text: str) -> str:
    """The text with HTML's, URLs' and programs' ways to write a character undone, once each."""
    if "\\" in text:
        text = _ESCAPE.sub(_character, text)
    if "%" in text:
        text = unquote(text, errors="replace")
    return html.unescape(text) if "&" in text else text


def _character(found: re.Match[str]) -> str:
    code = int(found[1] or found[2] or found[3], 16)
    return "\ufffd" if code > _HIGHEST or code in _SURROGATES else chr(code)


def decoded(text: str) -> list[str]:
    """What base64 and hexadecimal in the text say, decoded once: of each word that may be either, and of base64 of
    them all as one. The text is as `folding.readable` returns it."""
    if len(text) < _SHORTEST:
        return []
    found = [_text_of(bytes.fromhex(_NO_HEX.sub("", digits))) for digits in _HEX.findall(text)]
    candidates = [*_BASE64.findall(text), *(_NO_BASE64.sub("", one) for one in _BASE64_SPLIT.findall(text))]
    likely = [one for one in dict.fromkeys(candidates) if _MIXED_CASE.search(one)]
    found += [_text_of(octets) for one in likely if (octets := _octets(one)) is not None]
    return [said for said in found if said is not None]


def _octets(candidate: str) -> bytes | None:
    digits = candidate.rstrip("=").replace("-", "+").replace("_", "/")
    # A last digit alone holds no octet.
    whole = digits[: len(digits) - (len(digits) % 4 == 1)]
    try:
        return base64.b64decode(whole + "=" * (-len(whole) % 4))
    except (binascii.Error, ValueError):
        return None


def _text_of(octets: bytes) -> str | None:
    """UTF-8, or UTF-16 of letters that need one octet."""
    try:
        said = octets.replace(b"\x00", b"").decode("utf-8")
    except ValueError:
        return None
    return None if _CONTROL.search(said) else said
