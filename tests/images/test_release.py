"""What a release asks of docker and cosign, which are stood in for by programs that write down how they are called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE = f"sha256:{'b' * 64}"
BUILT = f"sha256:{'c' * 64}"

DOCKER = f"""#!/usr/bin/env bash
echo "docker $*" >> "$CALLS"
if [ "$3" = inspect ]; then echo {BASE}; fi
while [ $# -gt 0 ]; do
    if [ "$1" = --metadata-file ]; then echo '{{ "containerimage.digest": "{BUILT}" }}' > "$2"; fi
    shift
done
"""
COSIGN = """#!/usr/bin/env bash
echo "cosign $*" >> "$CALLS"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with the script in it, and the two programs beside it."""
    clone = tmp_path / "clone"
    (clone / ".ci").mkdir(parents=True)
    for name in ("release", "version.py"):
        shutil.copy(ROOT / ".ci" / name, clone / ".ci")
    (clone / "pyproject.toml").write_text('version = "1.2.3"\n')
    for name, content in (("docker", DOCKER), ("cosign", COSIGN)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(content)
        program.chmod(0o755)
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "a")):
        subprocess.run(["git", *command], cwd=clone, check=True)
    return clone


def release(clone: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CALLS": str(clone.parent / "calls"), **variables}
    environment["PATH"] = f"{clone.parent / 'bin'}:{environment['PATH']}"
    return subprocess.run([clone / ".ci" / "release", *arguments], env=environment, capture_output=True, text=True)


def calls(clone: Path) -> list[str]:
    path = clone.parent / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_every_image_has_its_base_by_digest_an_sbom_its_provenance_and_a_signature(clone: Path) -> None:
    process = release(clone, "registry.example.com/tandem")
    images = ["transformer", "predictor", "predictor", "controller", "cli"]
    assert process.stdout.splitlines() == [f"registry.example.com/tandem/tandem-{name}@{BUILT}" for name in images]
    builds = [call for call in calls(clone) if "buildx build" in call]
    assert len(builds) == 5
    for build in builds:
        assert f"--build-arg BASE=python:3.11-slim@{BASE}" in build
        assert f"--label org.opencontainers.image.base.digest={BASE}" in build
        assert "--sbom=true --provenance=mode=max --push" in build
        assert "--build-arg VERSION=1.2.3 " in build
    assert [call for call in calls(clone) if call.startswith("cosign")] == [
        f"cosign sign --yes registry.example.com/tandem/tandem-{name}@{BUILT}" for name in images
    ]


def test_a_key_may_be_given(clone: Path) -> None:
    release(clone, "registry.example.com/tandem", COSIGN_KEY="a.key")
    assert any(call.startswith("cosign sign --yes --key a.key ") for call in calls(clone))


def test_what_is_not_committed_is_not_released(clone: Path) -> None:
    (clone / "more").write_text("")
    process = release(clone, "registry.example.com/tandem")
    assert (process.returncode, calls(clone)) == (1, [])
    assert "not committed" in process.stderr


def test_a_base_that_has_moved_is_refused(clone: Path) -> None:
    process = release(clone, "registry.example.com/tandem", BASE=f"python:3.11-slim@sha256:{'d' * 64}")
    assert process.returncode == 1
    assert not [call for call in calls(clone) if "buildx build" in call]
    assert f"is {BASE} by now" in process.stderr


def test_a_repository_is_needed(clone: Path) -> None:
    assert (release(clone).returncode, calls(clone)) == (2, [])
