"""Whatever command a document prints is one that there is, with options that it has."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from apibank.cli import app
from tests.unit.house.test_docs import DOCUMENTS, PROJECT

COMMANDS: Any = typer.main.get_command(app)
# The code of a document, in fences and in its sentences.
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(apibank [^`\n]+)`")
# Where a command begins in a line of a shell.
_CALL = re.compile(r"(?:^|\$ |\$\(|[|;&] *|exec |\.venv/bin/|entrypoint )(?:\.venv/bin/)?apibank (.*)")
# Prose inside of fences, and what stands for anything.
_NO_COMMAND = re.compile(r"^(?:\S+:|goes|needs|is|has|has no) |^up to\b|^\.\.\.|^…")


def _lines(document: Path) -> Iterator[str]:
    text = document.read_text("utf-8")
    for fence in _FENCE.findall(text):
        yield from re.sub(r"\\\n\s*", " ", fence).splitlines()
    yield from _INLINE.findall(_FENCE.sub("", text))


def _calls(document: Path) -> Iterator[str]:
    for line in _lines(document):
        for call in _CALL.findall(line):
            if not _NO_COMMAND.match(call):
                yield call


def _words(call: str) -> list[str]:
    """The words of one command: no comment, and nothing of what a shell does with its output."""
    lexer = shlex.shlex(call, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        words = list(lexer)
    except ValueError:
        # A quotation that the line does not end.
        words = call.split()
    ends = [number for number, word in enumerate(words) if re.fullmatch(r"[();<>|&]+", word)]
    return words[: ends[0]] if ends else words


def wrong(call: str) -> str | None:
    """What is wrong with a command that is printed somewhere; None where it could be run."""
    command, words = COMMANDS, _words(call)
    while words and hasattr(command, "commands"):
        if words[0].startswith("-") or words[0] in {"...", "…"}:
            break
        if words[0] not in command.commands:
            return f"there is no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    for word in words:
        if (
            word.startswith("-")
            and word != "-"
            and not re.fullmatch(r"-\d+", word)
            and word.partition("=")[0] not in known
        ):
            return f"it has no option {word}"
    return None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_every_command_that_is_printed_can_be_run(document: Path) -> None:
    found = [f"apibank {call}: {said}" for call in _calls(document) if (said := wrong(call)) is not None]
    assert found == []


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("polcy validate", "there is no command 'polcy'"),
        ("policy apply --carany 50", "it has no option --carany"),
        ("keys create --partner acme --scope x | head -n 1", None),
        ("token --expires-in -60", None),
        ("audit anchor >> worm/anchors.jsonl", None),
        ("keys expiring --days 14          # exit code 1 if there are any", None),
    ],
)
def test_a_command_is_judged_by_its_name_and_options(call: str, said: str | None) -> None:
    assert wrong(call) == said


def test_commands_are_found_in_documents() -> None:
    assert sum(1 for document in DOCUMENTS for _ in _calls(document)) > 100


def _leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield " ".join(path), command
        return
    for name, child in command.commands.items():
        yield from _leaves(child, (*path, name))


def test_the_page_about_output_says_of_every_command_how_it_answers() -> None:
    page = (PROJECT / "docs" / "operate" / "README.md").read_text("utf-8")
    rows = [
        line.split(" | ")
        for line in page.splitlines()
        if line.startswith(("| all three", "| YAML unless", "| no `-o`"))
    ]
    with_option = {name for row in rows if "no `-o`" not in row[0] for name in re.findall(r"`([^`]+)`", row[1])}
    without = {name for row in rows if "no `-o`" in row[0] for name in re.findall(r"`([^`]+)`", row[1])}
    said = {}
    for name, command in _leaves(COMMANDS):
        has = any("-o" in one.opts for one in command.params)
        names = {name, name.partition(" ")[0]}
        said[name] = (has, bool(names & with_option), bool(names & without))
    assert {name: one for name, one in said.items() if one not in {(True, True, False), (False, False, True)}} == {}
