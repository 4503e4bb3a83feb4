from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "athlete"
TRAIN = """
import pathlib, sys, train
first = {"v1": train.estimators()["v1"]}
train.estimators = lambda: first
train.train(pathlib.Path(sys.argv[1]))
"""


@dataclass(frozen=True)
class Served:
    """The example, as ``tandem up`` serves it."""

    url: str
    bundles: Path
    store_url: str


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundle of the example's first version; the second takes longer and looks the same from outside."""
    directory = tmp_path_factory.mktemp("bundles")
    subprocess.run([sys.executable, "-c", TRAIN, directory], cwd=EXAMPLE, check=True)
    return directory


@pytest.fixture(scope="session")
def served(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    command = [sys.executable, "-m", "tandem_cli", "up", EXAMPLE, "--bundles", bundles, "--port", "0", "-o", "json"]
    command += ["--weight", "v1=1"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path_factory.mktemp("state"))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line == "}\n":
                    break
            assert lines and lines[-1] == "}\n", f"tandem up ended: {lines}"
            description = json.loads("".join(lines))
            yield Served(description["url"], bundles, description["store_url"])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    assert process.returncode == 0
