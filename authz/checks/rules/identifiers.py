"""Personal data that can be told by its form: candidates by pattern, then by check digits or numbering plan.

A number alone is hardly anybody's. So a form without check digits, or with few, counts only beside a word that says
what it is, and everything else only where its check digits are right. Work is linear: every position of a text begins
at most one candidate of a kind, and of those that are dear to check only so many are.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate
from typing import Final

import phonenumbers
import re2
from email_validator import EmailNotValidError, validate_email
from stdnum import numdb
from stdnum.br import cpf
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.in_ import aadhaar, pan
from stdnum.it import codicefiscale
from stdnum.luhn import is_valid as has_luhn_digit
from stdnum.nl import bsn
from stdnum.us import ssn

from authz.checks.rules.patterns import PatternSet
from policy.rules import PersonalData, pattern_options

# Of candidates that cost a look into a numbering plan or a grammar; a text with more is taken for a list of people.
MAX_DEAR: Final = 64
# Of numbers that begin like a card's and are as long: one in ten of any such has the right check digit.
MAX_CARDS: Final = 256

_SEPARATORS: Final = " -./_()"
_GROUP: Final = re.compile("[0-9]+")
_GROUPS: Final = re.compile(r"[0-9]+(?:[ \-./_]{1,3}[0-9]+)*")
_IBAN_START: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[ -]?[0-9]{2}")
# ISO 13616: at most 34 characters, in groups of four.
_IBAN_LONGEST: Final = 34
_IBAN_REACH: Final = 48
_FILE_NAMES: Final = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".css", ".js")

# Issuers' prefixes and the lengths of their numbers (ISO/IEC 7812).
_CARDS: Final = re.compile(
    "4(?:[0-9]{15}|[0-9]{18})|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}"
    "|3[47][0-9]{13}|3(?:0[0-5]|[689][0-9])[0-9]{11}|35(?:2[89]|[3-8][0-9])[0-9]{12}"
    "|6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12}|62[0-9]{14,17}|(?:60|8[12]|508)[0-9]{13,14}|(?:5[06-9]|6[37])[0-9]{14,17}"
)
_CARD_DIGITS: Final = range(14, 20)
_CARD_BEGINS: Final = re.compile("4|5[0-9]|2[2-7]|3[04-9]|6|8[12]")
_LETTER_VALUES: Final = {ord("A") + place: str(10 + place) for place in range(26)}

_EMAIL: Final = re2.compile(
    r"[\p{L}\p{N}._%+'-]+\"?(?:@| ?[\[({] ?(?:at|@) ?[\])}] ?)"
    r"(?:[\p{L}\p{N}-]+(?:\.| ?[\[({] ?(?:dot|\.) ?[\])}] ?))+\p{L}+",
    pattern_options(),
)
_PHONE: Final = re2.compile(r"\+[ (]{0,2}[0-9](?:[ \-./()]{0,3}[0-9]){6,14}", pattern_options())
_CALLED: Final = (
    "phone|telephone|tel|mobile|mob|cell|handy|whatsapp|telegram|signal|fax|sms|call|calls|calling|dial|ring|reach|text"
    "|telefon|téléphone|telefono|teléfono|number"
)
_HINTED_PHONE: Final = re2.compile(
    rf"\b(?:{_CALLED})\b[^0-9\n]{{0,24}}([0-9(](?:[ \-./()]{{0,3}}[0-9]){{8,14}})", pattern_options()
)


@dataclass(frozen=True, slots=True)
class _Form:
    """A national number: how it looks (the first group is it), and whether it can be one."""

    pattern: re2._Regexp
    is_valid: Callable[[str], bool]


def _form(pattern: str, is_valid: Callable[[str], bool], hints: str = "") -> _Form:
    """`hints`: words of which one must stand before it."""
    said = rf"\b(?:{hints})\b[^0-9\n]{{0,24}}" if hints else r"\b"
    return _Form(re2.compile(f"{said}({pattern})\\b", pattern_options()), is_valid)


def _is_person(number: str) -> bool:
    # The fourth letter of a PAN says whose it is; P is a person's.
    return pan.is_valid(number) and number[3:4].upper() == "P"


def _is_ssn(number: str) -> bool:
    return bool(ssn.is_valid("".join(filter(str.isdecimal, number))))


def _always(_: str) -> bool:
    return True


@cache
def _forms() -> Sequence[_Form]:
    return (
        _form("[2-9][0-9]{3}[ -][0-9]{4}[ -][0-9]{4}", aadhaar.is_valid),
        _form("[2-9][0-9]{11}", aadhaar.is_valid, "aadhaa?r|uidai|uid"),
        _form("[a-z]{5}[0-9]{4}[a-z]", _is_person),
        _form("[0-9]{3}[ -][0-9]{2}[ -][0-9]{4}", ssn.is_valid),
        _form("[0-9]{3}[ .-]?[0-9]{2}[ .-]?[0-9]{4}", _is_ssn, "ssn|social security"),
        _form("[a-ceghj-prstw-z][a-ceghj-nprstw-z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[a-d]", _always),
        _form("[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}", nhs.is_valid, "nhs"),
        _form("[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", idnr.is_valid, "steuer-?id|idnr|tin|identifikationsnummer"),
        _form("[12] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", nir.is_valid),
        _form("[0-9]{8}[ -]?[a-z]", dni.is_valid),
        _form("[xyz][ -]?[0-9]{7}[ -]?[a-z]", nie.is_valid),
        _form("[a-z]{6}[0-9]{2}[a-z][0-9]{2}[a-z][0-9]{3}[a-z]", codicefiscale.is_valid),
        _form("[0-9]{9}", bsn.is_valid, "bsn|burgerservicenummer"),
        _form(r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", cpf.is_valid),
        _form("[0-9]{3}[ .]?[0-9]{3}[ .]?[0-9]{3}[ -]?[0-9]{2}", cpf.is_valid, "cpf"),
    )


def prepare() -> None:
    """Make what the first check would have to make: the forms' patterns, and lists that lie in files."""
    _likely_forms()
    iban_length("DE")
    _is_phone("+4930901820", None)
    _is_address("somebody@example.com")


def holds(text: str, kind: PersonalData, regions: Sequence[str]) -> bool:
    """Whether a readable text holds personal data of a kind. `regions`: whose phone numbers may stand without +."""
    match kind:
        case PersonalData.EMAIL:
            return _holds_email(text)
        case PersonalData.PHONE:
            return _holds_phone(text, regions)
        case PersonalData.IBAN:
            return any(map(_is_iban, _iban_candidates(text)))
        case PersonalData.CARD:
            return _holds_card(text)
        case PersonalData.NATIONAL_ID:
            return _holds_national_id(text)


def _holds_national_id(text: str) -> bool:
    forms = _forms()
    likely = _likely_forms().found(text)
    return any(forms[index].is_valid(found[1]) for index in likely for found in forms[index].pattern.finditer(text))


@cache
def _likely_forms() -> PatternSet[int]:
    return PatternSet(enumerate(form.pattern.pattern for form in _forms()))


def _holds_email(text: str) -> bool:
    return any(count >= MAX_DEAR or _is_address(found[0]) for count, found in enumerate(_EMAIL.finditer(text)))


@lru_cache(maxsize=1)
def _obfuscation() -> re.Pattern[str]:
    return re.compile(r" ?[\[({] ?(at|@|dot|\.) ?[\])}] ?", re.IGNORECASE)


def _is_address(candidate: str) -> bool:
    written = {"at": "@", "dot": "."}
    plain = (
        _obfuscation()
        .sub(lambda found: written.get(found[1].lower(), found[1]), candidate)
        .replace('"', "")
        .strip(".'")
    )
    if plain.lower().endswith(_FILE_NAMES):
        return False
    try:
        validate_email(plain, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return False
    return True


def _holds_phone(text: str, regions: Sequence[str]) -> bool:
    looked_at = 0
    for pattern, tried in ((_PHONE, (None,)), (_HINTED_PHONE, tuple(regions))):
        for found in pattern.finditer(text):
            looked_at += len(tried)
            candidate = found[1] if pattern is _HINTED_PHONE else found[0]
            if looked_at > MAX_DEAR or any(_is_phone(candidate, region) for region in tried):
                return True
    return False


def _is_phone(candidate: str, region: str | None) -> bool:
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(candidate, region)))
    except phonenumbers.NumberParseException:
        return False


def _holds_card(text: str) -> bool:
    candidates = enumerate(_card_candidates(text))
    return any(count >= MAX_CARDS or has_luhn_digit(digits) for count, digits in candidates)


def _card_candidates(text: str) -> Iterator[str]:
    """Groups of digits that stand next to each other and are together as long as a card's number, and begin like it."""
    for run in _GROUPS.finditer(text):
        groups = _GROUP.findall(run[0])
        digits, ends = "".join(groups), list(accumulate(map(len, groups)))
        # By the offset of its end, the group's number.
        group_at = {end: number for number, end in enumerate(ends)}
        for first, start in enumerate((0, *ends)):
            if _CARD_BEGINS.match(digits, start) is None:
                continue
            for end in range(start + _CARD_DIGITS.start, start + _CARD_DIGITS.stop):
                last = group_at.get(end)
                if last is not None and _CARDS.fullmatch(digits, start, end) and _is_grouped(groups[first : last + 1]):
                    yield digits[start:end]


def _is_grouped(groups: Sequence[str]) -> bool:
    """Whether somebody would write one number so: `4 5 6 7 8 9 10 11 12` are several."""
    lengths = [len(group) for group in groups]
    return min(lengths[:-1], default=3) >= 3 or (len({*lengths[:-1]}) == 1 and lengths[-1] <= lengths[0])


def _iban_candidates(text: str) -> Iterator[str]:
    for start in _IBAN_START.finditer(text):
        reach = text[start.start() : start.start() + _IBAN_REACH].upper()
        letters = "".join(character for character in reach if character not in _SEPARATORS)[:_IBAN_LONGEST]
        length = iban_length(letters[:2])
        if length and len(letters) >= length:
            yield letters[:length]


def _is_iban(candidate: str) -> bool:
    # ISO 13616: the first four characters go to the end, letters count from 10, and 97 leaves 1.
    if not (candidate.isascii() and candidate.isalnum()):
        return False
    return int((candidate[4:] + candidate[:4]).translate(_LETTER_VALUES)) % 97 == 1


@lru_cache(maxsize=1024)
def iban_length(country: str) -> int:
    """Characters of a country's IBANs; 0 where it has none."""
    known = numdb.get("iban").info(country)[0][1]
    parts = re.findall(r"([0-9]+)!", str(known.get("bban", "")))
    return 4 + sum(map(int, parts)) if parts else 0
