"""A text of a body as personal data is looked for in it: whatever divides a number is one of a few separators, and what
is escaped, encoded or marked up stands beside it as it is meant."""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Final

from authz.checks.rules.folding import prepare as prepare_folding
from authz.checks.rules.folding import readable
from authz.checks.rules.given import Text
from authz.checks.rules.words import snake
from authz.checks.rules.wrapped import decoded, unescaped, without_markup

# No candidate reaches over this.
_BESIDE: Final = " | "
_SPACES: Final = re.compile(r"\s+")
# All dashes, bullets and pictures: 4111–1111 is a number as 4111-1111 is.
_DIVIDING: Final = frozenset({"Pd", "So", "Sk"})
_DIVIDING_TOO: Final = "·•‧∙⋅・‣⁃−"
# Full stops of other scripts, which stand for one in names of hosts (RFC 3490 §3.1).
_STOPS: Final = "。．｡"
# A member of such a name says what its number is. Words that may mean something else are not among them.
_SAYS: Final = frozenset(
    {
        *("phone", "telephone", "tel", "mobile", "cell", "handy", "whatsapp", "fax"),
        *("ssn", "aadhaar", "aadhar", "uidai", "nhs", "bsn", "cpf", "tin", "idnr"),
    }
)


@cache
def _signs() -> Mapping[int, str]:
    codes = (*range(0x80, 0x3400), *range(0xFE00, 0x10000), *range(0x1F000, 0x20000))
    signs = {code: "-" for code in codes if unicodedata.category(chr(code)) in _DIVIDING}
    return signs | {ord(sign): "-" for sign in _DIVIDING_TOO} | {ord(stop): "." for stop in _STOPS}


def prepare() -> None:
    """Make the tables, which takes longer than a check has to spare."""
    prepare_folding()
    _signs()


def read(text: Text) -> str:
    """All that a text says, in one line; ahead of a number what the name of its member says that it is."""
    plain = _plain(text.content)
    said = [plain]
    # An address in angle brackets is no tag: with and without what is left out.
    meant = without_markup(unescaped(plain))
    if meant != plain:
        said.append(_plain(meant))
    said += map(_plain, decoded(plain))
    return _said_to_be(text, plain) + _BESIDE.join(said)


def _plain(text: str) -> str:
    plain = readable(text)
    if not plain.isascii():
        plain = readable(plain.translate(_signs()))
    return _SPACES.sub(" ", plain)


def _said_to_be(text: Text, plain: str) -> str:
    if text.is_name or not any(map(str.isdecimal, plain)):
        return ""
    name = next((step for step in reversed(text.path) if isinstance(step, str)), "")
    return next((f"{word}: " for word in snake(name).split("_") if word in _SAYS), "")
