"""What ``tandem up`` and ``tandem rollout`` tell each other: files of one directory for each stack.

========================  ========  ======================================================================
file                      from      what
========================  ========  ======================================================================
``stack.json``            the stack :class:`Stack`: which process serves, and where
``rollout.json``          the stack the InferenceRollout, spec and status, as an API server would have it
``run-NUMBER.json.gz``    the stack evidence of a run, as a cluster has it in a RolloutEvidence
``command.json``          a person  :class:`Asked`: the last thing that was asked for
========================  ========  ======================================================================

Each file is written beside its place and renamed into it: whoever reads finds the old one or the new one, whole.
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
from tandem_cli.rollout.training import Predictions
from tandem_rollout.analysis.packing import pack, unpack
from tandem_rollout.analysis.record import Record
from tandem_rollout.engine.run import Command, Verb

_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_RUN: Final = re.compile(r"run-(\d+)\.json\.gz")


T = TypeVar("T")


class StateError(TandemError):
    """The files of a stack make no sense, or cannot be written."""


class Stack(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stack that runs.

    Attributes:
        pid: Its process.
        url: Where clients reach the model.
        admin_socket: Unix socket of Envoy's admin interface.
        versions: Versions that may be started.
        predictions: What they predicted for their training data, by version.
    """

    pid: int
    url: str
    admin_socket: str = ""
    versions: tuple[str, ...] = ()
    predictions: dict[str, Predictions] = {}


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person asks for. Like the annotation of a cluster, and with a version to start.

    Attributes:
        id: Tells commands apart; each is heard once.
        verb: What to do.
        by: Who asks.
        comment: Why, in the words of that person.
        version: With ``start``: the version that is to follow; empty for the same as before.
    """

    id: str
    verb: Verb
    by: str = ""
    comment: str = ""
    version: str = ""

    @property
    def command(self) -> Command:
        """The same for the engine."""
        return Command(id=self.id, verb=self.verb, by=self.by, comment=self.comment)


def root() -> Path:
    """Directory of all stacks of this user: ``$XDG_STATE_HOME/tandem``, or ``~/.local/state/tandem``."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state") / "tandem"


def stacks(under: Path | None = None) -> list[str]:
    """Names of the stacks that run."""
    base = under or root()
    found = [path.parent.name for path in base.glob("*/stack.json") if _NAME.fullmatch(path.parent.name)]
    return sorted(name for name in found if StackFiles(name, base).alive)


class StackFiles:
    """The files of one stack.

    Args:
        name: Name of its rollout.
        under: Directory of all stacks; by default this user's.

    Raises:
        StateError: The name is none of a rollout.
    """

    def __init__(self, name: str, under: Path | None = None) -> None:
        if not _NAME.fullmatch(name):
            raise StateError(f"{name!r} is no name of a rollout")
        self.name = name
        self.path = (under or root()) / name

    # the stack's side

    def begin(self, stack: Stack, manifest: Mapping[str, Any]) -> None:
        """Say that a stack runs. Evidence and commands of another one before it are removed.

        Args:
            stack: The stack.
            manifest: Its rollout.
        """
        for old in (*self.path.glob("run-*.json.gz"), self.path / "command.json"):
            old.unlink(missing_ok=True)
        self.write_rollout(manifest)
        self._write("stack.json", msgspec.json.encode(stack))

    def end(self, pid: int) -> None:
        """Say that a stack has stopped. Its rollout and evidence stay, to report on.

        Args:
            pid: Its process; where another one has taken the name since, nothing is done.
        """
        stack = self.stack()
        if stack is not None and stack.pid == pid:
            (self.path / "stack.json").unlink(missing_ok=True)

    def write_rollout(self, manifest: Mapping[str, Any]) -> None:
        """Write the rollout, spec and status."""
        self._write("rollout.json", msgspec.json.encode(manifest))

    def write_record(self, record: Record) -> None:
        """Write the evidence of a run."""
        self._write(f"run-{record.run}.json.gz", pack(record))

    def asked(self) -> Asked | None:
        """What a person asked for last; None where there is nothing that makes sense.

        It stays there: by its id a run knows that it has heard it.
        """
        return self._read("command.json", Asked)

    # a person's side

    def ask(self, asked: Asked) -> None:
        """Ask the stack for something."""
        self._write("command.json", msgspec.json.encode(asked))

    def stack(self) -> Stack | None:
        """The stack; None where none has said that it runs."""
        return self._read("stack.json", Stack)

    @property
    def alive(self) -> bool:
        """Whether the stack's process is there."""
        stack = self.stack()
        return stack is not None and alive(stack.pid)

    def rollout(self) -> dict[str, Any] | None:
        """The rollout, spec and status; None where there is none."""
        return self._read("rollout.json", dict[str, Any])

    # both

    def record(self, run: int) -> Record | None:
        """The evidence of a run; None where there is none that this program can read."""
        try:
            return unpack((self.path / f"run-{run}.json.gz").read_bytes())
        except FileNotFoundError:
            return None

    def runs(self) -> list[int]:
        """Numbers of the runs of which there is evidence."""
        found = (_RUN.fullmatch(path.name) for path in self.path.glob("run-*.json.gz"))
        return sorted(int(each[1]) for each in found if each)

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=kind)
        except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
            return None

    def _write(self, name: str, content: bytes) -> None:
        try:
            # whoever may write here may command the stack
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, beside = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                Path(beside).replace(self.path / name)
            except BaseException:
                Path(beside).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StateError(f"{self.path / name}: {error.strerror}") from None


def alive(pid: int) -> bool:
    """Whether a process of this user has this number."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError, OverflowError):
        return False
    return True
