"""``tandem up`` as a person runs it: two of them side by side, a process that dies, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest


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
    directory.mkdir()
    with (
        (directory.parent / f"{directory.name}.log").open("w") as errors,
        # a session of its own, so that its process group is what a terminal would interrupt
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(directory)},
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
        one, other = described(one_process, one_files), described(other_process, other_files)
        assert not set(one.pids) & set(other.pids)
        assert len(one.pids) == 2 + 2 * 2
        assert len(other.pids) == 2 + 3
        for up in (one, other):
            assert "degraded" not in up.predict()

        # Ctrl-C in the terminal of one
        os.killpg(one.process.pid, signal.SIGINT)
        assert one.process.wait() == 0
        assert not any(map(runs, one.pids))
        assert list(one.directory.iterdir()) == []
        assert told(one_files).endswith("stopped\n")

        # the other is not disturbed, until one of its processes dies
        assert "degraded" not in other.predict()
        os.kill(other.description["processes"]["predictor-v2"], signal.SIGKILL)
        assert other.process.wait() == 1
        assert "predictor-v2 was ended by SIGKILL" in told(other_files)
        assert not any(map(runs, other.pids))
        assert list(other.directory.iterdir()) == []
