"""Texts as a reader sees them, whatever characters they are spelt with: letters of other scripts that look alike,
digits and signs in place of letters ("leet"), signs between them, and what is not seen. All steps are linear in the
text.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from authz.checks.rules.spellings import lookalikes
from authz.checks.rules.wrapped import decoded, unescaped, without_markup

_UNSEEN: Final = frozenset({"Mn", "Me", "Cf"})
# Blank or joining without being format characters: COMBINING GRAPHEME JOINER, Hangul fillers, BRAILLE PATTERN BLANK.
# Last two Arabic words that NFKC would write out, and so make a text many times as long.
_FILLERS: Final = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufdfa\ufdfb"
_DIGITS: Final = str.maketrans("0345789@$€", "oeastbgase")
_ONE_IS_I: Final = str.maketrans("1", "i")
_ONE_IS_L: Final = str.maketrans("1", "l")
# A sign in place of a letter has letters beside it; numbers do not.
_LEET: Final = frozenset("0123456789@$€!|+")
_HAS_LEET: Final = re.compile(r"[^\W\d_][0-9@$€!|+]|[0-9@$€!|+][^\W\d_]")
# These end words as often as they spell them.
_SIGN_IN_WORD: Final = re.compile(r"(?<=\w)[!|+](?=\w)")
_SIGNS: Final = {"!": "i", "|": "l", "+": "t"}
_ASCII_GAPS: Final = {code: " " for code in range(128) if not chr(code).isalnum()}
_GAP: Final = re.compile(r"[\W_]+")
_CONTROL: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_SIGNS_RUN: Final = re.compile(r"[^\w\s]+")
# As many single letters in a row as are no accident.
_SPACED: Final = 4
_IS_SPACED: Final = re.compile(r" \w \w \w ")


@dataclass(frozen=True, slots=True)
class _Tables:
    """For str.translate: what is removed, what is replaced by what it looks like, and digits of all scripts."""

    invisible: Mapping[int, None]
    lookalikes: Mapping[int, str]
    decimals: Mapping[int, str]


@cache
def _tables() -> _Tables:
    invisible: dict[int, None] = {ord(filler): None for filler in _FILLERS}
    decimals: dict[int, str] = {}
    for code in (*range(0x80, 0x20000), *range(0xE0000, 0xE1000)):
        category = unicodedata.category(chr(code))
        # Marks above and below letters, and what steers others and is not seen itself.
        if category in _UNSEEN:
            invisible[code] = None
        elif category == "Nd":
            decimals[code] = str(unicodedata.decimal(chr(code)))
    return _Tables(invisible, lookalikes(), decimals)


def prepare() -> None:
    """Make the tables, which takes longer than a check has to spare."""
    _tables()


def readable(text: str) -> str:
    """The text without what is not seen, with compatible characters made one (NFKC) and all digits ours."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_tables().invisible)).translate(_tables().decimals)
    return _CONTROL.sub("", text) if not text.isprintable() else text


def folded(text: str) -> str:
    """The text in small letters of a to z as far as it looks so; every run of other signs is one space."""
    return _spaced(_skeleton(text))


def variants(text: str) -> list[str]:
    """All that the text can be read as, folded: `readings` of it, and of what it says in base64 or hexadecimal."""
    found = readings(text)
    for inner in decoded(readable(text)):
        found += readings(inner)
    return list(dict.fromkeys(found))


def readings(text: str) -> list[str]:
    """The text folded as it stands, and once more with escapes undone and without markup and signs within its words;
    both also with digits and signs for letters, and with letters that stand apart as words."""
    skeleton = _skeleton(text)
    found = _read_as(skeleton)
    plain = without_markup(unescaped(text))
    joined = _joined(skeleton if plain == text else _skeleton(plain))
    return found if joined == skeleton.replace("_", "-") else found + _read_as(joined)


def _skeleton(text: str) -> str:
    if not text.isascii():
        # Once more after folding case, which can bring what looks alike, too: the capital of one script is the small
        # letter of another.
        text = _as_latin(_as_latin(text).casefold())
    return (text if text.isprintable() else _CONTROL.sub("", text)).casefold()


def _as_latin(text: str) -> str:
    """Letters without marks (NFKD), and those of other scripts as what they look like."""
    # What is not seen goes first: some of it would be written out at many times its length.
    tables = _tables()
    bare = unicodedata.normalize("NFKD", text.translate(tables.invisible)).translate(tables.invisible)
    return bare.translate(tables.lookalikes).translate(tables.decimals)


def _spaced(text: str) -> str:
    if text.isascii():
        return " ".join(text.translate(_ASCII_GAPS).split())
    return _GAP.sub(" ", text).strip()


def _read_as(skeleton: str) -> list[str]:
    found = [_spaced(skeleton)]
    if not _LEET.isdisjoint(skeleton) and _HAS_LEET.search(skeleton):
        words = _SIGN_IN_WORD.sub(lambda found: _SIGNS[found[0]], skeleton).translate(_DIGITS)
        found.append(_spaced(words.translate(_ONE_IS_I)))
        if "1" in words:
            found.append(_spaced(words.translate(_ONE_IS_L)))
    return found + [_closed(reading) for reading in found if _IS_SPACED.search(f" {reading} ")]


def _joined(text: str) -> str:
    """`lea-ked` as `leaked`; signs between two digits, or beside a space, stand for themselves."""
    text = text.replace("_", "-")
    kept: list[str] = []
    done = 0
    for found in _SIGNS_RUN.finditer(text):
        start, end = found.span()
        before, after = text[start - 1 : start], text[end : end + 1]
        if before.isalnum() and after.isalnum() and not (before.isdecimal() and after.isdecimal()):
            kept.append(text[done:start])
            done = end
    return "".join((*kept, text[done:])) if kept else text


def _closed(text: str) -> str:
    """`l e a k e d` as `leaked`; words of several letters stay apart."""
    words: list[str] = []
    run: list[str] = []
    for word in [*text.split(" "), ""]:
        if len(word) == 1:
            run.append(word)
            continue
        words += ["".join(run)] if len(run) >= _SPACED else run
        run = []
        words.append(word)
    return " ".join(words).strip()
