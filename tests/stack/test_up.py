"""``tandem up`` as a person runs it: two of them side by side, a process that dies, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tandem_cli.rollout.targets.stack_files import StackFiles


@dataclass
class Up:
    """A running ``tandem up``."""

    process: subprocess.Popen[str]
    directory: Path
    description: dict[str, Any]

    @property
    def pids(self) -> list[int]:
        return list(self.description["processes"].values())

    def predict(self) -> dict[str, Any]:
        row = {"athlete_id": "a17", "current_pace": 330.0, "ts": "2005-04-03T12:00:00Z"}
        body = json.dumps({"instances": [row]}).encode()
        request = Request(
            f"{self.description['url']}/v1/models/time-estimator:predict", body, {"content-type": "application/json"}
        )
        with urlopen(request) as answer:
            return dict(json.load(answer)["predictions"][0])


@contextmanager
def tandem_up(package: Path, bundles: Path, directory: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tandem_cli", "up", package, "--bundles", bundles, "-o", "json", *options]
    directory.mkdir(exist_ok=True)
    with (
        (directory.parent / f"{directory.name}.log").open("w") as errors,
        # a session of its own, so that its process group is what a terminal would interrupt
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(directory), "XDG_STATE_HOME": str(directory.parent / "state")},
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def described(process: subprocess.Popen[str], directory: Path) -> Up:
    """What the command prints once it is ready."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line == "}\n":
            return Up(process, directory, json.loads(text))
    pytest.fail(f"ended with {process.wait()}: {told(directory)}")


def told(directory: Path) -> str:
    return (directory.parent / f"{directory.name}.log").read_text()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_two_side_by_side(package: Path, bundles: Path, tmp_path: Path) -> None:
    one_files, other_files = tmp_path / "one", tmp_path / "other"
    with (
        tandem_up(package, bundles, one_files) as one_process,
        tandem_up(
            package, bundles, other_files, "--protocol", "grpc-v2", "--processes", "2", "--weight", "v2=1"
        ) as other_process,
    ):
        first, second = described(one_process, one_files), described(other_process, other_files)
        assert not set(first.pids) & set(second.pids)
        assert len(first.pids) == 2 + 2 * 2
        assert len(second.pids) == 2 + 3
        for up in (first, second):
            assert "degraded" not in up.predict()

        # Ctrl-C in the terminal of one
        os.killpg(first.process.pid, signal.SIGINT)
        assert first.process.wait() == 0
        assert not any(map(runs, first.pids))
        assert list(first.directory.iterdir()) == []
        assert told(one_files).endswith("stopped\n")

        # the other is not disturbed, until one of its processes dies
        assert "degraded" not in second.predict()
        os.kill(second.description["processes"]["predictor-v2"], signal.SIGKILL)
        assert second.process.wait() == 1
        assert "predictor-v2 was ended by SIGKILL" in told(other_files)
        assert not any(map(runs, second.pids))
        assert list(second.directory.iterdir()) == []


def test_what_a_killed_one_left_is_removed_by_the_next(tmp_path: Path) -> None:
    package, files = tmp_path / "parcels", tmp_path / "files"
    subprocess.run([sys.executable, "-m", "tandem_cli", "init", "parcels", "--directory", package], check=True)
    subprocess.run([sys.executable, package / "train.py"], check=True)
    bundles = package / "bundles"
    with tandem_up(package, bundles, files) as process:
        described(process, files)
        process.kill()
        process.wait()
        (leftover,) = files.iterdir()
    with tandem_up(package, bundles, files) as process:
        described(process, files)
        (own,) = files.iterdir()
        assert own != leftover
        process.terminate()
        assert process.wait() == 0
    assert list(files.iterdir()) == []


def test_a_canary_begins_at_once_and_its_end_is_not_the_end_of_the_stack(
    package: Path, bundles: Path, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    with tandem_up(package, bundles, files, "--stable", "v1", "--canary", "v2") as process:
        up = described(process, files)
        state = StackFiles(up.description["rollout"], tmp_path / "state" / "tandem")
        assert state.alive
        wait_for(lambda: run_of(state).get("weight") == 10, process)
        os.kill(up.description["processes"]["transformer-v2"], signal.SIGKILL)
        wait_for(lambda: run_of(state).get("state") == "Aborted", process)
        assert "degraded" not in up.predict()
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        assert not any(map(runs, up.pids))
        assert not state.alive
        assert run_of(state)["state"] == "Aborted"
    assert "v1 to v2: Analyzing 10%" in told(files)
    assert "transformer-v2 was ended by SIGKILL" in told(files)
    assert "v2 is out of service; the stack goes on without it" in told(files)


def run_of(state: StackFiles) -> dict[str, Any]:
    """The run that the status tells of; empty before there is one."""
    rollout = state.rollout() or {}
    run = rollout.get("status", {}).get("run", {})
    assert isinstance(run, dict)
    return run


def wait_for(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        with contextlib.suppress(subprocess.TimeoutExpired):
            pytest.fail(f"it has ended with {process.wait(0.02)}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stable", "v1", "--weight", "v1=1"], "cannot be combined with --stable or --canary"),
        (["--stable", "v1", "--canary", "v1"], "must be different versions"),
        (["--stable", "v9"], "no bundle of v9"),
        (["--stable", "v1", "--canary", "v9"], "no bundle of v9"),
    ],
)
def test_versions_that_make_no_sense_are_refused(
    package: Path, bundles: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    files = tmp_path / "files"
    with tandem_up(package, bundles, files, *options) as process:
        assert process.wait() in (1, 2)
    assert message in " ".join(told(files).replace("│", " ").split())
