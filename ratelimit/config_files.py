"""Limits from files in envoyproxy/ratelimit's YAML format: `apibank serve ratelimit --config DIR`.

What its users have written is read as they meant it: nested descriptors, patterns with `*`, rules for a key alone,
`replaces`, `shadow_mode`, `quota_mode`, `unlimited`, `share_threshold`. Limits are fixed windows, as there.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from policy.problem import Diagnostic, FieldPath, PolicyError, Source, source_of
from policy.validation import validated
from policy.yaml_nodes import parse
from ratelimit.algorithms import FixedWindow
from ratelimit.config_format import ConfigFile, ConfiguredDescriptor, as_written
from ratelimit.limiter import RateLimiter
from ratelimit.replacements import Replacement, circles, replacements_of
from ratelimit.request import Unit
from ratelimit.rules import DomainRules, Headers, Node, Pattern, Rule


@dataclass(frozen=True, slots=True)
class FileOptions:
    """What holds for all files. `form`: domain rules without rules, of which every domain's are a copy;
    its `on_store_failure` is that of every rule too.

    merge_domains: a domain may stand in several files. shadow: nothing is refused, only counted.
    """

    merge_domains: bool = False
    shadow: bool = False
    form: DomainRules = field(default_factory=lambda: DomainRules("", Node(), Headers.NEVER))


Read: TypeAlias = "dict[str, DomainRules] | PolicyError | OSError"


def reload_folder(
    limiter: RateLimiter, folder: Path, options: FileOptions | None = None
) -> PolicyError | OSError | None:
    """Put in force what a folder says now. One with a mistake leaves the rules as they were, is counted and told."""
    return install(limiter, looked_into(folder, options))


def looked_into(folder: Path, options: FileOptions | None = None) -> Read:
    """What a folder says, or why it says nothing. It may take a while, on whichever thread."""
    try:
        return read_folder(folder, options)
    except (PolicyError, OSError) as error:
        return error


def install(limiter: RateLimiter, read: Read) -> PolicyError | OSError | None:
    """Put in force what was read, on the limiter's own thread, between two decisions."""
    wrong = read if isinstance(read, PolicyError | OSError) else None
    if not isinstance(read, PolicyError | OSError):
        limiter.install_all(read)
    limiter.metrics.loaded(succeeded=wrong is None)
    return wrong


def read_folder(folder: Path, options: FileOptions | None = None) -> dict[str, DomainRules]:
    """The domains of all `*.yaml` and `*.yml` files of a folder. Raises PolicyError, or OSError."""
    sources: list[Source] = []
    problems: list[Diagnostic] = []
    for path in config_files(folder):
        try:
            sources.append(source_of(path.name, path.read_bytes()))
        except PolicyError as error:
            problems += error.problems
    if problems:
        raise PolicyError(problems)
    return load_rules(sources, options)


def config_files(folder: Path) -> list[Path]:
    """The files of a folder that are read, by name. Raises OSError where there is no such folder.

    A link that leads nowhere is among them, and cannot be read; but not an editor's note of who has a file open.
    """
    named = (path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"} and not path.name.startswith(".#"))
    return sorted(path for path in named if path.is_file() or (path.is_symlink() and not path.exists()))


def load_rules(sources: Sequence[Source], options: FileOptions | None = None) -> dict[str, DomainRules]:
    """Rules by domain. Raises PolicyError with everything that is wrong, in file and line."""
    options = options or FileOptions()
    problems: list[Diagnostic] = []
    merged: dict[str, list[ConfiguredDescriptor]] = defaultdict(list)
    replacements: dict[str, list[Replacement]] = defaultdict(list)
    for source in sources:
        document = parse(source)
        problems += document.problems
        if document.root is None:
            continue
        as_written(document)
        config, positions, wrong = validated(ConfigFile, document.root, {source.name: document.lines})
        problems += wrong
        if config is None:
            continue
        if config.domain in merged and not options.merge_domains:
            problems.append(positions.diagnostic(("domain",), f"a second file for the domain {config.domain!r}"))
        known = {(one.key, one.value) for one in merged[config.domain]}
        for index, one in enumerate(config.descriptors):
            if (one.key, one.value) in known:
                at: FieldPath = ("descriptors", index, "key")
                problems.append(positions.diagnostic(at, f"another file has a descriptor {one.label!r} already"))
            merged[config.domain].append(one)
        replacements[config.domain] += replacements_of(config, positions)
    for of_domain in replacements.values():
        problems += circles(of_domain)
    if problems:
        raise PolicyError(problems)
    return {
        domain: replace(options.form, domain=domain, root=_node((), descriptors, options), shadow=options.shadow)
        for domain, descriptors in merged.items()
    }


def _node(path: tuple[ConfiguredDescriptor, ...], below: Sequence[ConfiguredDescriptor], options: FileOptions) -> Node:
    exact: dict[tuple[str, str], Node] = {}
    patterns: list[tuple[str, Pattern, Node]] = []
    any_value: dict[str, Node] = {}
    for one in below:
        node = _node((*path, one), one.descriptors, options)
        if one.is_pattern:
            patterns.append((one.key, Pattern.of(one.value), node))
        elif one.value:
            exact[one.key, one.value] = node
        else:
            any_value[one.key] = node
    return Node(_rule(path, options) if path else None, exact, tuple(patterns), any_value)


def _rule(path: tuple[ConfiguredDescriptor, ...], options: FileOptions) -> Rule | None:
    own = path[-1]
    limit = own.rate_limit
    if limit is None:
        return None
    unit = limit.unit or Unit.MINUTE
    places = tuple(one.label for one in path)
    return Rule(
        limit.name or ".".join(places),
        None if limit.unlimited else FixedWindow(limit.requests_per_unit, unit.microseconds),
        unit,
        on_store_failure=options.form.on_store_failure,
        shadow=own.shadow_mode or options.shadow,
        quota=own.quota_mode,
        known_as=limit.name,
        replaces=frozenset(replaced.name for replaced in limit.replaces),
        shared=tuple((index, one.value) for index, one in enumerate(path) if one.share_threshold),
        places=places,
        told=_told(path),
        metadata=own.metadata,
    )


def _told(path: tuple[ConfiguredDescriptor, ...]) -> frozenset[int]:
    """Which entries' values metrics are to tell: all where the rule is detailed, else those that say so."""
    if path[-1].detailed_metric:
        return frozenset(range(len(path)))
    return frozenset(index for index, one in enumerate(path) if one.value_to_metric)
