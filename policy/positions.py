"""From a path of the policy to its place in the files, whichever of them the value came from."""

from collections.abc import Iterator, Mapping, Sequence

from policy.problem import Diagnostic, FieldPath, Position
from policy.yaml_nodes import Entry, Node, Scalar

Plain = Scalar | dict[str, "Plain"] | list["Plain"]


class Positions(Mapping[FieldPath, Position]):
    """Where everything in a policy is written: the value for a scalar, the key for a list or a map."""

    def __init__(self, root: Node, lines: Mapping[str, Sequence[str]]) -> None:
        self._root = root
        self._lines = lines

    def __getitem__(self, path: FieldPath) -> Position:
        node, depth = self._walk(path)
        if depth < len(path):
            raise KeyError(path)
        return node.position

    def __iter__(self) -> Iterator[FieldPath]:
        open_: list[tuple[FieldPath, Node]] = [((), self._root)]
        while open_:
            path, node = open_.pop()
            yield path
            open_ += [((*path, step), child) for step, child in reversed(children(node))]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def nearest(self, path: FieldPath) -> Position:
        """The place of the path, or of the innermost part of it that is written."""
        return self._walk(path)[0].position

    def diagnostic(
        self,
        path: FieldPath,
        message: str,
        *,
        found: str = "",
        expected: str = "",
        hint: str = "",
        at_key: bool = False,
        within: tuple[int, int] | None = None,
    ) -> Diagnostic:
        """An error at the place nearest to the path, with the line to show; `at_key` points at the key.

        `within`: line and column, from 1, of the place in the text that stands there.
        """
        node, _ = self._walk(path, at_key=at_key)
        lines = self._lines.get(node.file, ())
        if within is not None:
            node = _within(node, lines, *within)
        line = lines[node.line] if node.line < len(lines) else ""
        return Diagnostic(node.position, path, message, found, expected, hint, line, node.width)

    def suspects(self, path: FieldPath) -> bool:
        """Whether something on the way to the path could not be read, so that what is wrong below it is no news."""
        node = self._root
        for step in path:
            if node.suspect:
                return True
            node = child_of(node, step) or node
        return node.suspect

    def _walk(self, path: FieldPath, *, at_key: bool = False) -> tuple[Node, int]:
        node, shown = self._root, self._root
        for depth, step in enumerate(path):
            if isinstance(node.content, dict) and isinstance(step, str) and step in node.content:
                entry = node.content[step]
                node, shown = entry.value, entry.key if at_key else _shown(entry)
            elif isinstance(node.content, list) and isinstance(step, int) and 0 <= step < len(node.content):
                node = shown = node.content[step]
            else:
                return shown, depth
        return shown, len(path)


def children(node: Node) -> list[tuple[str | int, Node]]:
    """The fields of a map or the items of a list, in order."""
    if isinstance(node.content, dict):
        return [(key, entry.value) for key, entry in node.content.items()]
    return list(enumerate(node.content)) if isinstance(node.content, list) else []


def child_of(node: Node, step: str | int) -> Node | None:
    """The field of a map or the item of a list, found at once."""
    if isinstance(node.content, dict) and isinstance(step, str):
        entry = node.content.get(step)
        return None if entry is None else entry.value
    if isinstance(node.content, list) and isinstance(step, int) and 0 <= step < len(node.content):
        return node.content[step]
    return None


def plain(node: Node) -> Plain:
    """The tree as dicts, lists and scalars."""
    content = node.content
    if isinstance(content, dict):
        return {key: plain(entry.value) for key, entry in content.items()}
    if isinstance(content, list):
        return [plain(item) for item in content]
    return content


def _within(node: Node, lines: Sequence[str], line: int, column: int) -> Node:
    """A place in a scalar's text, where that text stands in the file as it is read; else the scalar's own."""
    text, written = node.content, lines[node.line] if node.line < len(lines) else ""
    if not isinstance(text, str):
        return node
    opening = written[node.column : node.column + 1]
    if opening == "|":
        # YAML 1.2 §8.1.1: the block's indentation is that of its first line that is not empty.
        block = lines[node.line + 1 :]
        indent = next((len(one) - len(one.lstrip(" ")) for one in block if one.strip()), 0)
        return Node(text, node.file, node.line + line, indent + column - 1, 1)
    if line > 1 or opening == ">":
        return node
    start = node.column + (opening in {'"', "'"})
    # An escape, or a text that goes on in the next line, would put the place elsewhere.
    if not written[start:].startswith(text):
        return node
    return Node(text, node.file, node.line, start + column - 1, 1)


def _shown(entry: Entry) -> Node:
    """What to point at for a field: a value that is one word, else the key."""
    return entry.key if isinstance(entry.value.content, dict | list) or entry.value.content is None else entry.value
