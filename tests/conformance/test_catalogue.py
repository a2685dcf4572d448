"""docs/conformance.md: no statement without a test, no test without a statement, and nothing in it is out of date."""

from tests.conformance import catalogue

_NUMBERED = {"S": 12, "W": 20, "D": 22, "O": 8, "H": 18}
_TYPES = ("CDS", "LDS", "RDS", "EDS", "SDS", "RTDS", "ECDS", "SRDS", "VHDS", "LEDS", "CSDS", "XDSTP", "TYPES")


def test_the_document_has_every_statement_once() -> None:
    expected = [f"{letter}{number}" for letter, last in _NUMBERED.items() for number in range(1, last + 1)]
    assert sorted(catalogue.statements()) == sorted([*expected, *_TYPES])


def test_every_statement_has_a_test() -> None:
    shown = catalogue.shown()
    assert [statement for statement in catalogue.statements() if statement not in shown] == []


def test_every_numbered_test_shows_a_statement_that_exists() -> None:
    assert sorted(catalogue.shown().keys() - catalogue.statements().keys()) == []


def test_the_document_names_the_tests_as_they_are() -> None:
    # `python -m tests.conformance.catalogue` writes it anew.
    assert catalogue.DOCUMENT.read_text("utf-8").splitlines() == catalogue.rendered().splitlines()


def test_statements_of_a_dialect_are_shown_on_separate_and_on_aggregated_streams() -> None:
    shown = catalogue.shown()
    for letter, dialect in (("W", "sotw"), ("D", "delta")):
        for number in range(1, _NUMBERED[letter] + 1):
            statement = f"{letter}{number}"
            variants = {variant for each in shown[statement] for variant in each.variants}
            assert variants >= {f"{dialect}, ADS", f"{dialect}, separate"}, statement
