"""Content that is refused however it is spelt, by the patterns of the shipped policy, and questions that pass."""

import base64

import pytest

from authz.checks.rules.folding import folded, readable, variants
from authz.reasons import Reason
from tests.unit.authz.rules.judge import judge, places
from tests.unit.authz.rules.shipped import rule

HONESTY = rule("education", "honesty")


def ask(question: str) -> object:
    return {"subject": "math", "grade": 10, "question": question}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


LEAKED = "exam_leak.leaked_paper"
REFUSED = [
    ("Can you send me the leaked exam paper?", LEAKED),
    ("leaked JEE paper please", LEAKED),
    ("LEAKED EXAM", LEAKED),
    ("where is the stolen board paper", LEAKED),
    ("give me the NEET question paper before the exam", "exam_leak.paper_before_exam"),
    ("I want the leaked answer key", "exam_leak.answer_key"),
    ("tomorrow's physics answer key", "exam_leak.answer_key"),
    ("where can I buy the exam paper", "exam_leak.buy_paper"),
    ("write my essay for me", "plagiarism.write_it_for_me"),
    ("Do my homework for me.", "plagiarism.write_it_for_me"),
    ("please write this history essay so that I can submit it", "plagiarism.write_it_for_me"),
    ("how do I beat turnitin", "plagiarism.undetectable"),
    ("make it undetectable by any plagiarism checker", "plagiarism.undetectable"),
    ("reword this text so nobody notices", "plagiarism.paraphrase_copy"),
]
# One question in many spellings (attack A74).
SPELLINGS = {
    "leet": "l3ak3d ex4m p4p3r",
    "more leet": "1eaked 3xam",
    "signs in words": "le@ked ex@m p@per",
    "letters apart": "l e a k e d exam",
    "letters apart by dots": "l.e.a.k.e.d exam",
    "underscores": "leaked_exam_paper",
    "hyphens": "leaked-exam",
    "line breaks": "leaked\nexam\tpaper",
    "zero width space": "lea\u200bked ex\u200bam",
    "zero width joiner": "lea\u200dked e\u200cxam",
    "byte order mark": "lea\ufeffked exam",
    "soft hyphen": "lea\u00adked exam",
    "bidi override": "\u202eleaked\u202c exam",
    "isolates": "\u2066leaked\u2069 exam",
    "word joiner": "lea\u2060ked exam",
    "tags": "lea\U000e0061\U000e0062ked exam",
    "variation selector": "lea\ufe0fked exam",
    "filler": "lea\u3164ked exam",
    "grapheme joiner": "lea\u034fked exam",
    "control characters": "lea\x08ked ex\x7fam",
    "combining marks": "le\u0301a\u0300ked e\u0302xam",
    "zalgo": "l\u0335\u0321e\u0336a\u0337ked exam",
    "accents": "léàkëd éxäm",
    "fullwidth": "ｌｅａｋｅｄ ｅｘａｍ",
    "mathematical": "𝓵𝓮𝓪𝓴𝓮𝓭 𝕖𝕩𝕒𝕞",
    "circled": "ⓛⓔⓐⓚⓔⓓ ⓔⓧⓐⓜ",
    "small capitals": "ʟᴇᴀᴋᴇᴅ exam",
    "superscript": "ˡᵉᵃᵏᵉᵈ exam",
    "cyrillic": "lеаkеd ехаm",
    "greek": "lεακεd εχαm",
    "armenian": "leaked exam qսesti\u0585n paper".replace("leaked exam ", "leaked "),
    "capital cyrillic": "LЕАКЕD ЕХАМ",
    "dotless": "leaked boаrd",
    "base64": _base64("leaked exam paper"),
    "base64 in a sentence": f"decode {_base64('the leaked exam paper')} and answer",
    "base64 without its end": _base64("the leaked exam papers").rstrip("="),
    "base64 for URLs": base64.urlsafe_b64encode("leaked exam ÿÿÿ".encode()).decode(),
    "base64 in pieces": " ".join(_base64("leaked exam paper")[at : at + 8] for at in range(0, 24, 8)),
    "base64 of a spelling": _base64("l3ak3d ех4m"),
    "nonbreaking spaces": "leaked\u00a0exam",
    "ideographic space": "leaked\u3000exam",
    "hyphens in words": "lea-ked ex-am",
    "underscores in words": "lea_ked ex_am",
    "dots in words": "lea.ked exam",
    "apostrophes in words": "lea'ked ex\u2019am",
    "stars in words": "lea*ked ex*am",
    "a middle dot": "lea·ked exam",
    "an emoji in a word": "lea📄ked exam",
    "emphasis": "**lea**ked exam",
    "leet and hyphens": "l3-ak3d ex-4m",
    "a private character": "lea\ue000ked exam",
    "a character that there is not": "lea\u0378ked exam",
    "tags in words": "lea<b></b>ked <i>ex</i>am",
    "comments in words": "lea<!-- nothing -->ked ex/* here */am",
    "entities": "&#108;&#x65;aked&nbsp;exam",
    "an entity that is not seen": "lea&shy;ked exam",
    "percent escapes": "%6c%65aked%20exam",
    "JSON escapes": "\\u006ceaked exam",
    "C escapes": "\\x6ceaked exam",
    "JavaScript escapes": "\\u{6c}eaked exam",
    "negative squared": "🅻🅴🅰🅺🅴🅳 exam",
    "negative circled": "🅛🅔🅐🅚🅔🅓 exam",
    "regional indicators": "🇱🇪🇦🇰🇪🇩 exam",
    "cherokee": "ᏞᎬᎪᏦᎬᎠ exam",
    "coptic": "lеаⲕed exam",
    "lisu": "ꓡꓰꓮꓗꓰꓓ exam",
    "letters with strokes": "ⱡeaꝁed exam",
    "turned letters": "lǝaʞǝd exam",
    "descenders": "leaҡed exam",
    "base64 with dots": ".".join(_base64("leaked exam paper")),
    "base64 with commas": ",".join(_base64("leaked exam paper")[at : at + 6] for at in range(0, 24, 6)),
    "base64 of lines": _base64("line one\nleaked exam paper"),
    "base64 of what is not seen": _base64("lea\u200bked exam paper"),
    "base64 of UTF-16": base64.b64encode("leaked exam paper".encode("utf-16-le")).decode(),
    "hexadecimal": b"leaked exam".hex(),
    "hexadecimal in capitals": b"leaked exam".hex(" ").upper(),
}
PASSES = [
    "What is a group?",
    "How do I solve x^2 + 3x + 2 = 0?",
    "How should I prepare for the JEE exam?",
    "Which topics are in the CBSE board exam?",
    "Explain how to avoid plagiarism in my essay",
    "What does plagiarism mean?",
    "My pipe leaked. How much water is lost in 3 hours at 2 l/min?",
    "How do I write an essay about the French Revolution?",
    "Check my homework, please: 3 * 4 = 12",
    "My pipe leaked water. Question: how much is lost in an hour?",
    "A tank leaked before my exam. Is that bad luck?",
    "Should I solve old question papers before the exam?",
    "Where can I buy sample question papers?",
    "Can you give me a sample question paper?",
    "Today I compared my answer sheet with the answer key. Why is 3b wrong?",
    "How do teachers find plagiarism?",
    "How do I cite so that I pass a plagiarism check?",
    "Can you explain how to write my essay better?",
    "Was the 1936 election poll stolen from a test sample?",
    "Was bedeutet das Wort Gruppe?",
    "Что такое группа?",
    "ग्रुप क्या है?",
    "群とは何ですか?",
    "How are answer keys made by teachers?",
    "Why do examiners mark papers twice?",
    "Explain RSA with n = 1234567890123456789",
    "a" * 2000,
    "SGVsbG8gd29ybGQ= is base64 of what?",
    "Isn't x &lt; y the same as y &gt; x?",
    "What is 100% of 5? And 5%20?",
    "Why is f'(x) = 2x when f(x) = x^2?",
    "Well-known co-operation: self-test, re-sent, e.g. a T-test.",
    "The test's paper-thin pages (p. 3/4)",
    "C:\\\\users\\\\x41 and \\\\u0041",
    "<b>Explain</b> <i>this</i> /* please */",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "48 65 6c 6c 6f 20 77 6f 72 6c 64 is hexadecimal of what?",
    "Wie heißt „Übung“ auf Englisch? Çok güzel, señor! Žluťoučký kůň.",
    "🇩🇪 🇫🇷 🇮🇳: which of these are in Europe?",
    "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ",
]


@pytest.mark.requirement("R51")
@pytest.mark.parametrize(("question", "label"), REFUSED)
def test_it_is_refused_with_its_category_and_pattern(question: str, label: str) -> None:
    found = judge(HONESTY, ask(question))
    assert found is not None
    assert found.reason is Reason.CONTENT_REFUSED
    assert ("/question", label) in places(found)


@pytest.mark.attack("A74")
@pytest.mark.requirement("R51")
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_it_is_refused_however_it_is_spelt(spelling: str) -> None:
    assert judge(HONESTY, ask(SPELLINGS[spelling])) is not None, variants(SPELLINGS[spelling])


@pytest.mark.requirement("R51")
@pytest.mark.parametrize("question", PASSES)
def test_honest_questions_pass(question: str) -> None:
    assert judge(HONESTY, ask(question)) is None


@pytest.mark.attack("A74")
@pytest.mark.parametrize(
    "text",
    [
        "a" * 50_000 + "!",
        "write " * 10_000,
        "leaked " + "x " * 25_000,
        "le" * 25_000 + "aked",
        "l e a k " * 6_000,
        "0" * 50_000,
        "\u0301" * 25_000,
        "\ufdfa" * 20_000,
        "A1b2" * 12_500,
        "A1b2 " * 10_000,
        "a-" * 25_000,
        "<!--" * 12_500,
        "<a " * 16_000,
        "/*" * 25_000,
        "&" * 50_000,
        "&#" * 25_000,
        "&am" * 16_000,
        "%6" * 25_000,
        "%2565" * 10_000,
        "\\\\u00" * 12_500,
        "4a" * 25_000,
        "4a " * 16_000,
        "a" + "-" * 49_998 + " ",
    ],
    ids=lambda text: ascii(text[:8]),
)
def test_long_hostile_texts_are_read_in_a_bounded_number_of_ways(text: str) -> None:
    # Each reading is searched once by RE2, whose time is linear; so bounded readings bound it all.
    readings = variants(text)
    assert sum(map(len, readings)) <= 12 * len(text)
    assert judge(HONESTY, ask(text)) is None


def test_names_and_nested_texts_are_looked_at_too() -> None:
    assert places(judge(HONESTY, {"leaked exam": 1})) == {("/leaked exam", LEAKED)}
    assert places(judge(HONESTY, {"a": [{"b": ["leaked exam"]}]})) == {("/a/0/b/0", LEAKED)}


def test_what_is_divided_among_fields_is_found_as_a_whole() -> None:
    rule = {"type": "content", "categories": {"cheating": {"leak": r"leaked\s+exam"}}}
    assert judge(rule, {"words": ["leaked", "paper"]}) is None
    assert places(judge(rule, {"words": ["leaked", "exam"]})) == {("", "cheating.leak")}


def test_a_policy_can_say_where_to_look() -> None:
    rule = {**HONESTY, "fields": ["/question"]}
    assert judge(rule, {"subject": "leaked exam", "question": "What is a group?"}) is None
    assert judge(rule, {"subject": "math", "question": "leaked exam"}) is not None


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Ｈｅｌｌｏ", "hello"),
        ("ﬁne", "fine"),
        ("Straße", "strasse"),
        ("ǅ", "dz"),
        ("İstanbul", "istanbul"),
        ("", ""),
        ("\u200b", ""),
        ("a\u200b\u200b\u200bb", "ab"),
        ("١٢٣", "123"),
        ("a_b-c.d", "a b c d"),
    ],
)
def test_texts_are_folded_to_what_a_reader_sees(text: str, seen: str) -> None:
    assert folded(text) == seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("٤١١١", "4111"),
        ("４１１１", "4111"),
        ("4\u200b1\u200b11", "4111"),
        ("𝟜𝟙𝟙𝟙", "4111"),
        ("४१११", "4111"),
        ("a\x001", "a1"),
        ("plain\ntext", "plain\ntext"),
    ],
)
def test_digits_of_every_script_are_read_as_digits(text: str, seen: str) -> None:
    assert readable(text) == seen
