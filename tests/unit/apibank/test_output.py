"""Tables as people read them, in terminals that are narrow and wide."""

import json

import pytest
from rich.console import Console

from apibank import output
from apibank.output import OutputFormat, Row, fail, plain, plain_record, print_pairs, print_rows

ROW: Row = {
    "id": "k_3f9cab12cd34ef56",
    "partner": "acme",
    "scopes": ["partner:acme:marketing:read", "partner:acme:education:*"],
    "expires_at": "2026-11-23 01:58",
}


def printed(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setattr(output, "_console", lambda: Console(width=width, highlight=False))
    print_rows([ROW, ROW], tuple(ROW), OutputFormat.TABLE)
    return capsys.readouterr().out.splitlines()


def test_what_is_short_stays_whole_where_a_terminal_is_narrow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(80, monkeypatch, capsys)
    assert lines[0].split() == ["ID", "PARTNER", "SCOPES", "EXPIRES", "AT"]
    assert all("k_3f9cab12cd34ef56" in lines[number] and "2026-11-23 01:58" in lines[number] for number in (1, 3))
    assert max(map(len, lines)) <= 80


def test_a_row_becomes_a_block_where_not_even_that_is_possible(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(50, monkeypatch, capsys)
    assert lines[0].split() == ["ID", "k_3f9cab12cd34ef56"]
    assert lines[1].split() == ["PARTNER", "acme"]
    assert "" in lines


def test_a_wide_terminal_has_a_line_for_each_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(printed(120, monkeypatch, capsys)) == 3


def test_what_is_printed_is_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs([("[bold]", "[red]a[/red]")], indent=2)
    assert capsys.readouterr().out == "  [bold]  [red]a[/red]\n"


HOSTILE = "\x1b]0;owned\x07 \x9b2J \u202egnp.exe\x7f"


def test_no_text_of_others_is_obeyed_by_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"why": HOSTILE, "nodes": [HOSTILE]}], ("why", "nodes"), OutputFormat.TABLE)
    for form in (OutputFormat.JSON, OutputFormat.YAML):
        print_rows([{"why": HOSTILE}], ("why",), form)
    with pytest.raises(SystemExit):
        fail(f"error: {HOSTILE}")
    printed = capsys.readouterr()
    assert all(each.isprintable() or each == "\n" for each in printed.out + printed.err)
    assert "\\u001b]0;owned" in printed.out
    assert plain_record({"a": [HOSTILE], "b": 1}) == {"a": [plain(HOSTILE)], "b": 1}


def test_json_holds_what_was_said_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"why": HOSTILE + " é\N{NO-BREAK SPACE}\U000e0001"}], ("why",), OutputFormat.JSON)
    assert json.loads(capsys.readouterr().out) == [{"why": HOSTILE + " é\N{NO-BREAK SPACE}\U000e0001"}]


def test_words_that_end_with_a_line_end_leave_no_line_empty(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"why": "duplicate domain\n"}], ("why",), OutputFormat.TABLE)
    assert capsys.readouterr().out == "WHY\nduplicate domain\n"
