"""The rules in force, as lines for people."""

from collections.abc import Iterator, Mapping

from ratelimit.rules import DomainRules, Node, Rule


def listed(domains: Mapping[str, DomainRules]) -> str:
    """A line for each rule, by domain and place."""
    lines = [f"{domain}.{line}\n" for domain, rules in domains.items() for line in _lines(rules.root)]
    return "".join(sorted(lines))


def _lines(node: Node) -> Iterator[str]:
    if node.rule is not None:
        yield _line(node.rule)
    below = (*node.exact.values(), *(each for _, _, each in node.wildcard), *node.any_value.values())
    for each in below:
        yield from _lines(each)


def _line(rule: Rule) -> str:
    place = ".".join(rule.places) or rule.name
    figure = "unlimited" if rule.limit is None else f"{rule.amount} per {rule.unit}"
    more = {
        f"name={rule.known_as}": rule.known_as,
        f"replaces={','.join(sorted(rule.replaces))}": rule.replaces,
        "shadow_mode": rule.shadow,
        "quota_mode": rule.quota,
        "share_threshold": rule.shared,
    }
    return " ".join((f"{place}: {figure}", *(text for text, said in more.items() if said)))
