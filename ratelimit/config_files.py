"""Limits from files in envoyproxy/ratelimit's YAML format: `apibank serve ratelimit --config DIR`.

What its users have written is read as they meant it: nested descriptors, values that end in `*`, rules for a key
alone, `replaces`, `shadow_mode`, `unlimited`, `share_threshold`. Limits are fixed windows, as there. `detailed_metric`
and `value_to_metric` are accepted and change nothing: metrics never hold data of a request.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from policy.problem import Diagnostic, FieldPath, PolicyError, Problem, Source
from policy.validation import validated
from policy.yaml_nodes import parse
from ratelimit.algorithms import FixedWindow
from ratelimit.limiter import RateLimiter
from ratelimit.request import Unit
from ratelimit.rules import DomainRules, Headers, Node, Rule

_UNITS = tuple(unit.value for unit in Unit)


def _lower(text: object) -> object:
    return text.lower() if isinstance(text, str) else text


def _text(value: object) -> object:
    # A value such as 200 or true is meant as the text that it is on the wire.
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Replaced(_Model):
    name: Annotated[str, Field(min_length=1)]


class RateLimit(_Model):
    """So many per unit, or `unlimited`."""

    name: str = ""
    unit: Annotated[Unit, BeforeValidator(_lower)] | None = None
    requests_per_unit: Annotated[int, Field(strict=True, ge=0, le=(1 << 32) - 1)] = 0
    unlimited: bool = False
    replaces: tuple[Replaced, ...] = ()


class ConfiguredDescriptor(_Model):
    """A key, with a value, the beginning of one (`foo*`) or any; a limit for it, and descriptors below it."""

    key: Annotated[str, Field(min_length=1)]
    value: Annotated[str, BeforeValidator(_text)] = ""
    rate_limit: RateLimit | None = None
    descriptors: "tuple[ConfiguredDescriptor, ...] | None" = ()
    shadow_mode: bool = False
    share_threshold: bool = False
    detailed_metric: bool = False
    value_to_metric: bool = False

    @property
    def label(self) -> str:
        return f"{self.key}_{self.value}" if self.value else self.key


class ConfigFile(_Model):
    """One file: a domain and its descriptors."""

    domain: Annotated[str, Field(min_length=1)]
    descriptors: tuple[ConfiguredDescriptor, ...] | None = ()

    def problems(self) -> list[Problem]:
        return list(_problems(("descriptors",), self.descriptors or ()))


def _problems(at: FieldPath, descriptors: Sequence[ConfiguredDescriptor]) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(descriptors):
        here = (*at, index)
        if (one.key, one.value) in seen:
            yield Problem((*here, "key"), f"duplicate descriptor composite key {one.label!r}", "each pair once")
        seen.add((one.key, one.value))
        if one.share_threshold and not one.value.endswith("*"):
            yield Problem((*here, "share_threshold"), "only values that end in * can share", "a value that ends in *")
        if one.rate_limit is not None:
            yield from _limit_problems((*here, "rate_limit"), one.rate_limit)
        yield from _problems((*here, "descriptors"), one.descriptors or ())


def _limit_problems(at: FieldPath, limit: RateLimit) -> Iterator[Problem]:
    if limit.unlimited and limit.unit is not None:
        yield Problem((*at, "unit"), "an unlimited rate has no unit", "unlimited, or a unit")
    if not limit.unlimited and limit.unit is None:
        yield Problem(at, "a rate limit needs a unit", f"unit: one of {', '.join(_UNITS)}")
    for index, replaced in enumerate(limit.replaces):
        if replaced.name == limit.name:
            yield Problem((*at, "replaces", index, "name"), "a rule cannot replace itself", "the name of another rule")


def reload_folder(
    limiter: RateLimiter, folder: Path, *, merge_domains: bool = False, headers: Headers = Headers.NEVER
) -> PolicyError | OSError | None:
    """Put in force what a folder says now. One with a mistake leaves the rules as they were, is counted and told."""
    try:
        limiter.install_all(read_folder(folder, merge_domains=merge_domains, headers=headers))
    except (PolicyError, OSError) as error:
        limiter.metrics.loaded(succeeded=False)
        return error
    limiter.metrics.loaded(succeeded=True)
    return None


def read_folder(
    folder: Path, *, merge_domains: bool = False, headers: Headers = Headers.NEVER
) -> dict[str, DomainRules]:
    """The domains of all `*.yaml` and `*.yml` files of a folder. Raises PolicyError, or OSError."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"} and path.is_file())
    sources = [Source(path.name, path.read_text("utf-8", errors="replace")) for path in paths]
    return load_rules(sources, merge_domains=merge_domains, headers=headers)


def load_rules(
    sources: Sequence[Source], *, merge_domains: bool = False, headers: Headers = Headers.NEVER
) -> dict[str, DomainRules]:
    """Rules by domain. Raises PolicyError with everything that is wrong, in file and line.

    A domain may stand in several files only where `merge_domains` says so.
    """
    problems: list[Diagnostic] = []
    merged: dict[str, list[ConfiguredDescriptor]] = defaultdict(list)
    for source in sources:
        document = parse(source)
        problems += document.problems
        if document.root is None:
            continue
        config, positions, wrong = validated(ConfigFile, document.root, {source.name: document.lines})
        problems += wrong
        if config is None:
            continue
        if config.domain in merged and not merge_domains:
            problems.append(positions.diagnostic(("domain",), f"a second file for the domain {config.domain!r}"))
        known = {(one.key, one.value) for one in merged[config.domain]}
        for index, one in enumerate(config.descriptors or ()):
            if (one.key, one.value) in known:
                at: FieldPath = ("descriptors", index, "key")
                problems.append(positions.diagnostic(at, f"another file has a descriptor {one.label!r} already"))
            merged[config.domain].append(one)
    if problems:
        raise PolicyError(problems)
    return {domain: DomainRules(domain, _node("", None, found, ()), headers) for domain, found in merged.items()}


def _node(
    label: str,
    own: ConfiguredDescriptor | None,
    below: Sequence[ConfiguredDescriptor],
    shared: tuple[tuple[int, str], ...],
    depth: int = 0,
) -> Node:
    exact: dict[tuple[str, str], Node] = {}
    wildcard: list[tuple[str, str, Node]] = []
    any_value: dict[str, Node] = {}
    for one in below:
        sharing = (*shared, (depth, one.value)) if one.share_threshold else shared
        name = f"{label}.{one.label}" if label else one.label
        node = _node(name, one, one.descriptors or (), sharing, depth + 1)
        if one.value.endswith("*"):
            wildcard.append((one.key, one.value[:-1], node))
        elif one.value:
            exact[one.key, one.value] = node
        else:
            any_value[one.key] = node
    return Node(_rule(label, own, shared), exact, tuple(wildcard), any_value)


def _rule(label: str, own: ConfiguredDescriptor | None, shared: tuple[tuple[int, str], ...]) -> Rule | None:
    limit = None if own is None else own.rate_limit
    if own is None or limit is None:
        return None
    unit = limit.unit or Unit.MINUTE
    counting = None if limit.unlimited else FixedWindow(limit.requests_per_unit, unit.microseconds)
    return Rule(
        limit.name or label,
        counting,
        unit,
        shadow=own.shadow_mode,
        replaces=frozenset(replaced.name for replaced in limit.replaces),
        shared=shared,
    )
