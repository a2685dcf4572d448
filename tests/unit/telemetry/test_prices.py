"""What a request costs is declared once, where Prometheus reads it too; a declaration that is none names its place."""

from pathlib import Path

import pytest

from telemetry.prices import DECLARED, PricesError, read_prices


@pytest.mark.requirement("R85")
def test_the_shipped_declaration_has_the_price_of_a_hosted_gateway_and_the_thresholds() -> None:
    prices = read_prices()
    assert prices.of("business", 1_000_000) == pytest.approx(3.5)
    # A tier that nobody has declared costs what others cost.
    assert prices.of("unheard-of", 2_000_000) == pytest.approx(7.0)
    assert (prices.requests, prices.revenue) == (100_000, 10_000)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('tier: "others"', 'tier: "free"', "no rule with the label tier: others"),
        ('labels: {tier: "free"}', "labels: {}", "lacks its label tier"),
        ("vector(100000)", "100000", "is 100000, not vector(NUMBER)"),
        ("vector(100000)", "vector(1.0.0)", "not vector(NUMBER)"),
        ("apibank:upgrade_requests:limit\n", "apibank:other\n", "no rule apibank:upgrade_requests:limit"),
        ("groups:", "- groups:", "no file of Prometheus' rules"),
        ("groups:", "groups: [", "no file of Prometheus' rules"),
    ],
)
def test_what_is_no_declaration_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    file = tmp_path / "mine.yaml"
    text = DECLARED.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(PricesError, match=r"mine\.yaml") as told:
        read_prices(file)
    assert words in str(told.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PricesError, match=r"gone\.yaml"):
        read_prices(tmp_path / "gone.yaml")
