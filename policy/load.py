"""YAML text -> gateways. Every error at once, each with its file, line and column and what was expected there."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Generic, TypeVar

from pydantic import BaseModel

from policy.overlay import Overlay, merge, useless_deletions
from policy.positions import Positions
from policy.problem import Diagnostic, PolicyError, Source
from policy.validation import suggestion, validated
from policy.yaml_nodes import Document, Entry, Node, parse

M = TypeVar("M", bound=BaseModel)

# The field of a gateway's file that names it.
_NAME = "gateway"


@dataclass(frozen=True, slots=True)
class Loaded(Generic[M]):
    """A policy that may be used, and where each part of it is written."""

    gateway: M
    positions: Positions


@dataclass(frozen=True, slots=True)
class _Layers:
    """An overlay's file, taken apart."""

    root: Node
    everywhere: Node | None
    gateways: Mapping[str, Entry]
    only_existing: bool


def load_gateway(model: type[M], file: Source, overlays: Sequence[Source] = ()) -> Loaded[M]:
    """One gateway's file under its overlays, in their order. Overlays may speak of gateways that are not here.

    Raises PolicyError with everything that is wrong.
    """
    (loaded,) = _load(model, [file], overlays, whole=False).values()
    return loaded


def load_gateways(model: type[M], files: Sequence[Source], overlays: Sequence[Source] = ()) -> Mapping[str, Loaded[M]]:
    """All gateways by name. An overlay that speaks of a gateway that has no file is an error here.

    Raises PolicyError with everything that is wrong in any of the files.
    """
    return _load(model, files, overlays, whole=True)


def _load(model: type[M], files: Sequence[Source], overlays: Sequence[Source], *, whole: bool) -> dict[str, Loaded[M]]:
    """`whole`: these are all the gateways that there are, so an overlay may name no other."""
    documents = {source.name: parse(source) for source in (*files, *overlays)}
    problems = [problem for document in documents.values() for problem in document.problems]
    if any(document.root is None for document in documents.values()):
        raise PolicyError(problems)
    lines = {name: document.lines for name, document in documents.items()}

    bases = {source.name: _root(documents[source.name]) for source in files}
    names = {file: _gateway_name(root, file) for file, root in bases.items()}
    known = frozenset(names.values()) if whole else None
    layers = []
    for source in overlays:
        layer, wrong = _layers(_root(documents[source.name]), lines, known)
        layers.append(layer)
        problems += wrong

    loaded: dict[str, Loaded[M]] = {}
    for number, (file, base) in enumerate(bases.items()):
        name = names[file]
        effective, wrong = _under(base, name, layers, lines)
        gateway, positions, broken = validated(model, effective, lines)
        problems += [*wrong, *broken]
        if name in list(names.values())[:number]:
            problems.append(positions.diagnostic((_NAME,), f"a second gateway {name}", expected="one file a gateway"))
        if gateway is not None:
            loaded[name] = Loaded(gateway, positions)
    if problems:
        raise PolicyError(problems)
    return loaded


def _layers(
    root: Node, lines: Mapping[str, Sequence[str]], known: Collection[str] | None
) -> tuple[_Layers, list[Diagnostic]]:
    overlay, positions, problems = validated(Overlay, root, lines)
    fields = root.content if isinstance(root.content, dict) else {}
    gateways = fields["gateways"].value.content if "gateways" in fields else {}
    named = gateways if isinstance(gateways, dict) else {}
    for name in named:
        if known is not None and name not in known:
            expected = f"one of {', '.join(sorted(known))}"
            message, hint = f"no gateway is called {name}", suggestion(name, known)
            problems.append(positions.diagnostic(("gateways", name), message, expected=expected, hint=hint))
    only_existing = overlay is not None and overlay.only_existing
    return _Layers(root, fields["all"].value if "all" in fields else None, named, only_existing), problems


def _under(
    base: Node, name: str, layers: Sequence[_Layers], lines: Mapping[str, Sequence[str]]
) -> tuple[Node, list[Diagnostic]]:
    """The gateway's tree with every layer merged into it."""
    problems: list[Diagnostic] = []
    effective = base
    for layer in layers:
        if layer.everywhere is not None:
            effective = _merged(effective, layer.everywhere, layer)
        if (own := layer.gateways.get(name)) is not None:
            positions = Positions(layer.root, lines)
            problems += [
                positions.diagnostic(("gateways", name, *path), "null takes a field away, but there is none here")
                for path in useless_deletions(effective, own.value)
            ]
            effective = _merged(effective, own.value, layer)
    return effective, problems


def _merged(base: Node, over: Node, layer: _Layers) -> Node:
    # A file or an overlay that is no map is an error of its own; it must not hide the rest.
    if not isinstance(base.content, dict) or not isinstance(over.content, dict):
        return base
    return merge(base, over, only_existing=layer.only_existing)


def _root(document: Document) -> Node:
    assert document.root is not None
    return document.root


def _gateway_name(root: Node, file: str) -> str:
    entry = root.content.get(_NAME) if isinstance(root.content, dict) else None
    written = entry.value.content if entry is not None else None
    return written if isinstance(written, str) else PurePath(file).stem
