"""A folder of plain Envoy resources: `DIR/<node group>/*.yaml`, each a list of `{"@type": ..., name: ...}`.

With it the control plane serves any Envoy, without any policy of ours. What a resource refers to is read from it as
far as it is among the others, so that no route goes anywhere before its cluster is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from policy.problem import Diagnostic, PolicyError, Position, Source
from policy.yaml_nodes import Node, parse
from xds.compiler.plain import PlainResourceError, plain_resource
from xds.snapshot import Origin, Resource, Snapshot


def read_group(files: Sequence[Source]) -> Snapshot:
    """The snapshot of one node group's files. Raises PolicyError with everything that is wrong in any of them."""
    resources: list[tuple[str, Resource]] = []
    problems: list[Diagnostic] = []
    placed: dict[tuple[str, str], Position] = {}
    for file in files:
        document = parse(file)
        problems += document.problems
        entries = [] if document.root is None or document.root.content is None else _entries(document.root, problems)
        for index, entry in enumerate(entries):
            place = entry.position
            try:
                type_url, resource = plain_resource(_mapping(entry))
            except PlainResourceError as error:
                problems.append(Diagnostic(place, (index,), str(error)))
                continue
            before = placed.setdefault((type_url, resource.name), place)
            if before is not place:
                message = f"a second {type_url.rpartition('.')[2]} named {resource.name!r}; the first is at {before}"
                problems.append(Diagnostic(place, (index,), message))
                continue
            resources.append((type_url, replace(resource, origin=Origin(place.file, place.line))))
    if problems:
        raise PolicyError(problems)
    # What is not here may come from an Envoy's bootstrap or another control plane.
    return Snapshot.of(
        (type_url, replace(resource, needs=tuple(need for need in resource.needs if need in placed)))
        for type_url, resource in resources
    )


def _entries(root: Node, problems: list[Diagnostic]) -> Sequence[Node]:
    if isinstance(root.content, list):
        return root.content
    problems.append(
        Diagnostic(root.position, (), "the file is no list", expected='a list of {"@type": ..., name: ...}')
    )
    return ()


def _mapping(entry: Node) -> Mapping[str, object]:
    plain = _plain(entry)
    if not isinstance(plain, Mapping):
        raise PlainResourceError('an entry is {"@type": ..., name: ...}')
    return plain


def _plain(node: Node) -> object:
    if isinstance(node.content, dict):
        return {key: _plain(entry.value) for key, entry in node.content.items()}
    if isinstance(node.content, list):
        return [_plain(inner) for inner in node.content]
    return node.content
