"""Letters as they are drawn: what passes for a letter of a to z, in scripts that people know.

A small part of Unicode's confusables (UTS #39): by hand where the likeness is one of form, by name where a letter of
the Latin script is one of a to z with something added to it, and by place where Unicode has the alphabet once more.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

# A letter of a to z: those that pass for it in Cyrillic, Greek, Armenian, Cherokee, Lisu and Coptic, and signs.
_ALIKE: Final = {
    "a": "АаӐӑɑαΑᴀᎪꓮⲀⲁ",
    "b": "ВвΒβʙЬьᏴꓐⲂⲃ",
    "c": "СсϹϲᴄҫᏟꓚⲤⲥ",
    "d": "ԀԁđᴅÐðᎠꓓ",
    "e": "ЕеΕεЄєᴇℯёᎬꓰⲈⲉǝ",
    "f": "ƒꜰϝꓝ",
    "g": "ɡɢԌցꓖᏀ",
    "h": "ҺһНнΗʜհᎻꓧⲎ",
    "i": "ІіΙιıɪӀӏΪїꓲⲒⲓᎥ",
    "j": "ЈјϳᴊЙꓙᎫ",
    "k": "КкΚκᴋқҡҝҟᏦꓗⲔⲕʞ",
    "l": "łʟⅼꓡᏞⳐ",
    "m": "МмΜᴍᎷꓟⲘⲙ",
    "n": "ΝηпɴոПŋꓠⲚⲛ",
    "o": "ОоΟοσᴏօסøØꓳⲞⲟ",
    "p": "РрΡρᴘᏢꓑⲢⲣ",
    "q": "Ԛԛզ",
    "r": "Ггʀᴦꓣᖇ",
    "s": "Ѕѕꜱꓢ",
    "t": "ТтΤτᴛᎢꓔⲦⲧ",
    "u": "υսᴜμЦꓴ",
    "v": "νѵᴠѴꓦᏙ",
    "w": "ωԜԝᴡшꓪᎳ",
    "x": "ХхΧχꓫⲬⲭ",
    "y": "УуΥγʏүҮꓬⲨⲩ",
    "z": "ΖᴢʐꓜᏃ",
}
_SPELT: Final = {"ß": "ss", "æ": "ae", "œ": "oe", "Æ": "ae", "Œ": "oe", "þ": "th", "Þ": "th"}
# Latin Extended in all its parts, and the phonetic letters.
_LATIN: Final = (range(0x100, 0x2B0), range(0x1D00, 0x1DC0), range(0x1E00, 0x1F00), range(0x2C60, 0x2C80))
_LATER_LATIN: Final = (range(0xA720, 0xA800), range(0xAB30, 0xAB70))
_NAMED: Final = re.compile(
    "LATIN (?:SMALL |CAPITAL |LETTER SMALL CAPITAL )(?:LETTER )?"
    "(?:(?:TURNED|REVERSED|SCRIPT|OPEN|INSULAR|BARRED|LENIS|BLACKLETTER|SIDEWAYS|DOTLESS|SMALL CAPITAL) )*"
    "([A-Z])(?: WITH .+| ROTUNDA)?"
)
# A to Z once more: squared, negative circled, negative squared, and the letters that flags are written with.
_ALPHABETS: Final = (0x1F130, 0x1F150, 0x1F170, 0x1F1E6)


@cache
def lookalikes() -> Mapping[int, str]:
    """For str.translate. What is written by hand comes before what has a name."""
    found = dict(_by_name())
    found |= {start + place: chr(ord("a") + place) for start in _ALPHABETS for place in range(26)}
    found |= {ord(like): letter for letter, likes in _ALIKE.items() for like in likes}
    return found | {ord(letter): spelt for letter, spelt in _SPELT.items()}


def _by_name() -> Iterator[tuple[int, str]]:
    for codes in (*_LATIN, *_LATER_LATIN):
        for code in codes:
            named = _NAMED.fullmatch(unicodedata.name(chr(code), ""))
            if named is not None:
                yield code, named[1].lower()
