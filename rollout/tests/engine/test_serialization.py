"""Runs and commands as they are written down."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.api.status import LastCommand, RunStatus
from tandem_rollout.engine.run import Command, Run, State, Verb
from tandem_rollout.engine.serialization import format_command, from_status, parse_command, to_status

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
TIMES = st.floats(0, 4e9)
STATES = st.sampled_from(get_args(State))
RUNS = st.builds(
    Run,
    number=st.integers(1, 10**6),
    stable=TEXT,
    canary=TEXT,
    plan=TEXT,
    state=STATES,
    started=TIMES,
    since=TIMES,
    step=st.integers(0, 20),
    weight=st.integers(0, 100),
    deadline=st.none() | TIMES | st.just(math.inf),
    min_pods=st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
    paused_from=st.none() | STATES,
    immediate_rollback=st.booleans(),
    reason=TEXT,
    message=TEXT,
    by=TEXT,
    last_command=st.none()
    | st.builds(
        LastCommand, id=TEXT, verb=TEXT, by=TEXT, result=st.sampled_from(["Accepted", "Rejected"]), message=TEXT
    ),
)


def stored(run: Run) -> Run:
    """A run that went through the API server."""
    text = msgspec.json.encode(to_status(run, steps=3, measured=9.8, verdict="pass"))
    result = from_status(msgspec.json.decode(text, type=RunStatus))
    assert result is not None
    return result


@given(RUNS)
def test_a_run_comes_back_as_it_was_but_for_parts_of_seconds(run: Run) -> None:
    whole = replace(
        run,
        started=float(int(run.started)),
        since=float(int(run.since)),
        deadline=None if run.deadline in (None, math.inf) else float(int(run.deadline or 0)),
    )
    assert stored(run) == whole
    assert stored(whole) == whole


WRITTEN = to_status(
    Run(number=1, stable="a", canary="b", plan="p", state="Paused", started=0.0, since=0.0, paused_from="Analyzing"),
    steps=1,
)


@pytest.mark.parametrize(
    "strange",
    [{"state": "Dancing"}, {"state": ""}, {"paused_from": "Dancing"}, {"since": "yesterday"}, {"started": ""}],
)
def test_what_another_version_has_written_is_no_run(strange: dict[str, Any]) -> None:
    assert from_status(msgspec.structs.replace(WRITTEN, **strange)) is None


def test_without_a_status_there_is_no_run() -> None:
    assert from_status(None) is None


def test_times_are_written_as_kubernetes_writes_them() -> None:
    run = Run(number=1, stable="a", canary="b", plan="p", state="Analyzing", started=0.0, since=1.9, deadline=3600.0)
    status = to_status(run, steps=1)
    assert (status.started, status.since, status.deadline) == (
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:01Z",
        "1970-01-01T01:00:00Z",
    )


@given(st.builds(Command, id=TEXT, verb=st.sampled_from(get_args(Verb)), by=TEXT, comment=TEXT))
def test_a_command_comes_back_as_it_was(given_command: Command) -> None:
    assert parse_command(format_command(given_command)) == given_command


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "promote",
        "[]",
        "{}",
        '{"id": "1"}',
        '{"verb": "promote"}',
        '{"id": 1, "verb": "promote"}',
        '{"id": "1", "verb": "dance"}',
        '{"id": "1", "verb": "promote", "by": null}',
        '{"id": "1", "verb": "promote"',
        "\ud800",
    ],
)
def test_an_annotation_that_makes_no_sense_is_no_command(text: str | None) -> None:
    assert parse_command(text) is None


@given(st.text())
def test_whatever_somebody_writes_there_is_no_crash(text: str) -> None:
    command = parse_command(text)
    assert command is None or command.verb in get_args(Verb)
