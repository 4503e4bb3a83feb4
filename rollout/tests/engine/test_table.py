"""The table of states, as people read it."""

from __future__ import annotations

import re
from typing import get_args

from tandem_rollout import engine
from tandem_rollout.engine.run import ENDS, State


def table() -> list[str]:
    """Rows of the table: lines between the second rule of ``=`` and the third that begin with a word."""
    text = engine.__doc__ or ""
    rules = [match.end() for match in re.finditer(r"(?m)^=[= ]+$", text)]
    return [line for line in text[rules[1] : rules[2]].splitlines() if re.match(r"[A-Z]", line)]


def test_the_table_lists_exactly_the_states_that_there_are() -> None:
    assert [row.split()[0] for row in table()] == list(get_args(State))


def test_the_table_says_which_states_are_ends() -> None:
    assert {row.split()[0] for row in table() if "(end" in row} == ENDS
