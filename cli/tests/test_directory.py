"""The directory of a stack among temporary files."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tandem_cli.local.directory import Directory


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for temporary files of our own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_removed_with_all_that_is_in_it(temporary: Path) -> None:
    directory = Directory()
    (directory.path / "logs").mkdir()
    (directory.path / "logs" / "a.log").touch()
    directory.remove()
    assert not list(temporary.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next_one(temporary: Path) -> None:
    program = (
        "import os, signal\n"
        "from tandem_cli.local.directory import Directory\n"
        "(Directory().path / 'predictor.log').touch()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program], env={"TMPDIR": str(temporary)}, check=False)
    (directory,) = temporary.iterdir()
    assert (directory / "predictor.log").exists()
    directory = Directory()
    assert list(temporary.iterdir()) == [directory.path]
    directory.remove()


def test_those_of_stacks_that_run_stay(temporary: Path) -> None:
    first, second, third = Directory(), Directory(), Directory()
    assert {first.path, second.path, third.path} == set(temporary.iterdir())
    second.remove()
    fourth = Directory()
    assert {first.path, third.path, fourth.path} == set(temporary.iterdir())
    for directory in (first, third, fourth):
        directory.remove()


def test_what_is_not_ours_stays(temporary: Path) -> None:
    (temporary / "tandem-of-somebody").mkdir()
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / "lock").touch()
    (temporary / "tandem-link").symlink_to(temporary / "elsewhere")
    Directory().remove()
    assert {path.name for path in temporary.iterdir()} == {"tandem-of-somebody", "elsewhere", "tandem-link"}
    assert (temporary / "elsewhere" / "lock").exists()
