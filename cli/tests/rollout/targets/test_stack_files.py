"""The files by which a stack and a person at a terminal talk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tandem_cli.rollout.targets import stack_files
from tandem_cli.rollout.targets.stack_files import Stack, StackCommand, StackFiles, StateError
from tandem_rollout.analysis.record import Record

MANIFEST = {"metadata": {"name": "est"}, "spec": {}, "status": {}}


def test_what_a_stack_writes_is_what_a_person_reads(tmp_path: Path) -> None:
    stack, person = StackFiles("est", tmp_path), StackFiles("est", tmp_path)
    assert (person.rollout(), person.stack(), person.runs(), person.record(1)) == (None, None, [], None)
    stack.begin(Stack(os.getpid(), "http://127.0.0.1:1", versions=("v1", "v2")), MANIFEST)
    stack.write_record(Record(run=10, plan="p"))
    stack.write_record(Record(run=9, plan="p"))
    assert person.rollout() == MANIFEST
    assert person.runs() == [9, 10]
    assert person.record(10) == Record(run=10, plan="p")
    assert person.alive
    assert stack_files.list_stacks(tmp_path) == ["est"]


def test_a_command_stays_until_the_next(tmp_path: Path) -> None:
    stack, person = StackFiles("est", tmp_path), StackFiles("est", tmp_path)
    assert stack.command() is None
    for command in (StackCommand("1", "abort", "a@b", "it is bad"), StackCommand("2", "start", version="v2")):
        person.write_command(command)
        assert stack.command() == stack.command() == command
        assert (stack.command() or command).command.verb == command.verb
    (tmp_path / "est" / "command.json").write_text('{"id": "3", "verb": "destroy"}')
    assert stack.command() is None


def test_another_stack_does_not_hear_what_was_said_to_the_one_before(tmp_path: Path) -> None:
    files = StackFiles("est", tmp_path)
    files.write_command(StackCommand("1", "abort"))
    files.write_record(Record(run=1, plan="p"))
    files.begin(Stack(os.getpid(), "u"), MANIFEST)
    assert (files.command(), files.runs()) == (None, [])


def test_evidence_stays_when_a_stack_stops(tmp_path: Path) -> None:
    files = StackFiles("est", tmp_path)
    files.begin(Stack(os.getpid(), "u"), MANIFEST)
    files.write_record(Record(run=1, plan="p"))
    files.end(os.getpid() + 1)
    assert files.alive
    files.end(os.getpid())
    assert not files.alive
    assert (files.rollout(), files.runs()) == (MANIFEST, [1])


def test_a_stack_whose_process_is_gone_is_not_alive(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    files = StackFiles("est", tmp_path)
    for pid in (gone.pid, 0, -1, 2**40):
        files.begin(Stack(pid, "u"), MANIFEST)
        assert not files.alive
    assert stack_files.list_stacks(tmp_path) == []


def test_only_this_user_may_write(tmp_path: Path) -> None:
    files = StackFiles("est", tmp_path / "a" / "b")
    files.write_command(StackCommand("1", "abort"))
    assert files.path.stat().st_mode & 0o777 == 0o700
    assert (files.path / "command.json").stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_beside_the_files(tmp_path: Path) -> None:
    files = StackFiles("est", tmp_path)
    for number in range(3):
        files.write_command(StackCommand(str(number), "pause"))
    assert [path.name for path in files.path.iterdir()] == ["command.json"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "../est", ".est", "a b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StateError, match="is not a valid name"):
        StackFiles(name, tmp_path)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "est").write_text("a file")
    with pytest.raises(StateError, match="est"):
        StackFiles("est", tmp_path).write_command(StackCommand("1", "pause"))


def test_the_directory_of_this_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert stack_files.state_directory() == tmp_path / "tandem"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert stack_files.state_directory() == tmp_path / "home" / ".local" / "state" / "tandem"
