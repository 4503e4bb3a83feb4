from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table

from tandem_cli.output import Console, print_json
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


def test_json_has_no_control_codes_and_the_same_values(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"message": HOSTILE})
    out = capsys.readouterr().out
    assert not CONTROLS & set(map(ord, out))
    assert json.loads(out) == {"message": HOSTILE}
