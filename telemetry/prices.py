"""What a request is declared to cost, and from which load on something bigger is thought of (R85).

The declaration is the rule file that Prometheus multiplies by (telemetry/alerts/cost.yaml), so that dashboards, alerts,
the console and the command line cannot tell different prices.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

DECLARED: Final = Path(__file__).parent / "alerts" / "cost.yaml"
_PRICE: Final = "apibank:request_price_dollars"
_REQUESTS: Final = "apibank:upgrade_requests:limit"
_REVENUE: Final = "apibank:upgrade_revenue_dollars:limit"
_VECTOR: Final = re.compile(r"vector\(([0-9.]+)\)")
# As the label of apibank_requests_total: whatever is none of the declared tiers.
_OTHERS: Final = "others"


class PricesError(ValueError):
    """A declaration that cannot be read; the text names file, rule and what was expected."""


@dataclass(frozen=True, slots=True)
class Prices:
    """`dollars`: of one request, by tier. `requests`: in 30 days, and `revenue`: dollars a month, to upgrade at."""

    dollars: Mapping[str, float]
    requests: float
    revenue: float

    def of(self, tier: str, requests: int) -> float:
        """What so many requests of a tier cost, in dollars."""
        return requests * self.dollars.get(tier, self.dollars[_OTHERS])


def read_prices(path: Path = DECLARED) -> Prices:
    """Raises PricesError."""
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        rules = [rule for group in told["groups"] for rule in group["rules"] if "record" in rule]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError) as error:
        raise PricesError(f"{path} is no file of Prometheus' rules: {type(error).__name__}") from None
    dollars = {_tier(rule, path): _value(rule, path) for rule in rules if rule["record"] == _PRICE}
    if _OTHERS not in dollars:
        raise PricesError(f"{path}: {_PRICE} has no rule with the label tier: {_OTHERS}")
    single = {rule["record"]: _value(rule, path) for rule in rules if rule["record"] in (_REQUESTS, _REVENUE)}
    for name in (_REQUESTS, _REVENUE):
        if name not in single:
            raise PricesError(f"{path}: there is no rule {name}")
    return Prices(dollars, single[_REQUESTS], single[_REVENUE])


def _tier(rule: Mapping[str, Any], path: Path) -> str:
    labels = rule.get("labels")
    tier = labels.get("tier") if isinstance(labels, dict) else None
    if not isinstance(tier, str):
        raise PricesError(f"{path}: a rule {_PRICE} lacks its label tier")
    return tier


def _value(rule: Mapping[str, Any], path: Path) -> float:
    found = _VECTOR.fullmatch(str(rule.get("expr", "")).strip())
    try:
        if found is not None:
            return float(found[1])
    except ValueError:
        pass
    raise PricesError(f"{path}: {rule['record']} is {rule.get('expr')!r}, not vector(NUMBER)")
