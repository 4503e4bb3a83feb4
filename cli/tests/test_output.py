from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table

from tandem_cli.output import Console, Format, print_document
from tandem_rollout.api.text import CONTROLS

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202ereversed\r"


@pytest.mark.parametrize("terminal", [True, False])
@given(st.text() | st.just(HOSTILE))
def test_nothing_that_is_shown_commands_the_terminal(terminal: bool, text: str) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, color_system=None, width=80)
    table = Table(title=text, show_header=True)
    table.add_column("message")
    table.add_row(text)
    for shown in (text, table, Panel(text)):
        console.print(shown, markup=False, highlight=False)
    assert not CONTROLS & set(map(ord, out.getvalue()))


def test_the_console_s_own_styles_still_reach_the_terminal() -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="standard").print("[bold]text")
    assert out.getvalue() == "\x1b[1mtext\x1b[0m\n"


@pytest.mark.parametrize(("output", "load"), [(Format.JSON, json.loads), (Format.YAML, yaml.safe_load)])
def test_documents_have_no_control_codes_and_the_same_values(
    capsys: pytest.CaptureFixture[str], output: Format, load: Callable[[str], Any]
) -> None:
    print_document({"message": HOSTILE}, output)
    out = capsys.readouterr().out
    assert not CONTROLS & set(map(ord, out))
    assert load(out) == {"message": HOSTILE}
