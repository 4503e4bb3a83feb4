"""The files by which ``tandem up`` and ``tandem rollout`` communicate, in one directory for each stack.

========================  ==========  ====================================================================
file                      written by  content
========================  ==========  ====================================================================
``stack.json``            the stack   :class:`Stack`: the process that serves, and its address
``rollout.json``          the stack   the InferenceRollout with spec and status, as an API server returns it
``run-NUMBER.json.gz``    the stack   evidence of a run, as in a RolloutEvidence of a cluster
``command.json``          the user    :class:`StackCommand`: the last command
========================  ==========  ====================================================================

Files are replaced in one step, so that readers find either the old one or the new one, complete.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from tandem import TandemError
from tandem_cli.rollout.training_predictions import TrainingPredictions
from tandem_rollout.analysis.packing import pack, unpack
from tandem_rollout.analysis.record import Record
from tandem_rollout.engine.run import Command, Verb

_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_RUN: Final = re.compile(r"run-(\d+)\.json\.gz")


T = TypeVar("T")


class StateError(TandemError):
    """A name is not valid, or the files of a stack cannot be written."""


class Stack(msgspec.Struct, frozen=True, omit_defaults=True):
    """A running stack.

    Attributes:
        pid: ID of its process.
        url: URL of the model.
        admin_socket: Unix socket of Envoy's admin interface.
        versions: Versions that it can start.
        predictions: Their predictions for their training data, by version.
    """

    pid: int
    url: str
    admin_socket: str = ""
    versions: tuple[str, ...] = ()
    predictions: dict[str, TrainingPredictions] = {}


class StackCommand(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command to a stack: like the annotation of a cluster, with a version to start.

    Attributes:
        id: ID of the command; each is executed once.
        verb: The command.
        by: Who sent it.
        comment: Why, in that user's own words.
        version: With ``start``, the version to start; empty for the same as before.
    """

    id: str
    verb: Verb
    by: str = ""
    comment: str = ""
    version: str = ""

    @property
    def command(self) -> Command:
        """The command for the engine."""
        return Command(id=self.id, verb=self.verb, by=self.by, comment=self.comment)


def state_directory() -> Path:
    """Directory of all stacks of this user: ``$XDG_STATE_HOME/tandem``, or ``~/.local/state/tandem``."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state") / "tandem"


def list_stacks(under: Path | None = None) -> list[str]:
    """Names of the running stacks.

    Args:
        under: Directory of all stacks; by default that of this user.
    """
    base = under or state_directory()
    names = [path.parent.name for path in base.glob("*/stack.json") if _NAME.fullmatch(path.parent.name)]
    return sorted(name for name in names if StackFiles(name, base).alive)


class StackFiles:
    """The files of one stack.

    Args:
        name: Name of its rollout.
        under: Directory of all stacks; by default that of this user.

    Raises:
        StateError: if the name is not a valid name of a rollout.
    """

    def __init__(self, name: str, under: Path | None = None) -> None:
        if not _NAME.fullmatch(name):
            raise StateError(f"{name!r} is not a valid name of a rollout")
        self.name = name
        self.path = (under or state_directory()) / name

    # written by the stack

    def begin(self, stack: Stack, manifest: Mapping[str, Any], *, resumed: bool = False) -> None:
        """Record that a stack runs, and remove evidence and commands of an earlier one.

        Args:
            stack: The stack.
            manifest: Its rollout.
            resumed: Whether its runs are numbered from the last one on, so that earlier evidence stays.
        """
        # an old command must not reach the new stack
        (self.path / "command.json").unlink(missing_ok=True)
        for old in () if resumed else self.path.glob("run-*.json.gz"):
            old.unlink(missing_ok=True)
        self.write_rollout(manifest)
        # last: whoever finds the stack finds its rollout too
        self.write_stack(stack)

    def write_stack(self, stack: Stack) -> None:
        """Write the stack."""
        self._write("stack.json", msgspec.json.encode(stack))

    def end(self, pid: int) -> None:
        """Record that a stack has stopped. Its rollout and evidence stay for reports.

        Args:
            pid: ID of its process. If another process has the name now, nothing is done.
        """
        stack = self.stack()
        if stack is not None and stack.pid == pid:
            (self.path / "stack.json").unlink(missing_ok=True)

    def write_rollout(self, manifest: Mapping[str, Any]) -> None:
        """Write the rollout with spec and status."""
        self._write("rollout.json", msgspec.json.encode(manifest))

    def write_record(self, record: Record) -> None:
        """Write the evidence of a run."""
        self._write(f"run-{record.run}.json.gz", pack(record))

    def command(self) -> StackCommand | None:
        """The last command; None if there is no valid one.

        The file stays: a run recognizes the commands that it has executed by their IDs.
        """
        return self._read("command.json", StackCommand)

    # written or read by the user

    def write_command(self, command: StackCommand) -> None:
        """Write a command."""
        self._write("command.json", msgspec.json.encode(command))

    def stack(self) -> Stack | None:
        """The stack; None if none is recorded as running."""
        return self._read("stack.json", Stack)

    @property
    def alive(self) -> bool:
        """Whether the process of the stack exists."""
        stack = self.stack()
        return stack is not None and process_exists(stack.pid)

    def rollout(self) -> dict[str, Any] | None:
        """The rollout with spec and status; None if there is none."""
        return self._read("rollout.json", dict[str, Any])

    # read by both

    def record(self, run: int) -> Record | None:
        """The evidence of a run; None if there is none that this program can read."""
        try:
            return unpack((self.path / f"run-{run}.json.gz").read_bytes())
        except FileNotFoundError:
            return None

    def runs(self) -> list[int]:
        """Numbers of the runs that have evidence."""
        matches = (_RUN.fullmatch(path.name) for path in self.path.glob("run-*.json.gz"))
        return sorted(int(match[1]) for match in matches if match)

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=kind)
        except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
            return None

    def _write(self, name: str, content: bytes) -> None:
        try:
            # a user who may write here may send commands to the stack
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # in the same directory, as a rename is atomic within one file system only
            handle, scratch = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                Path(scratch).replace(self.path / name)
            except BaseException:
                Path(scratch).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StateError(f"{self.path / name}: {error.strerror}") from None


def process_exists(pid: int) -> bool:
    """Whether a process of this user has this ID."""
    if pid <= 0:
        return False
    try:
        # signal 0 checks whether the process exists, and sends nothing
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError, OverflowError):
        return False
    return True
