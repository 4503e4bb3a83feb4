from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem.package import ModelPackage
from tandem_cli.local import LocalStack
from tandem_cli.variants import choose_variants

ATHLETE = Path(__file__).parents[2] / "examples" / "athlete"
sys.path.insert(0, str(ATHLETE))


@pytest.fixture(scope="session")
def package() -> Path:
    """The example package."""
    return ATHLETE


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles of the example, freshly trained."""
    directory = tmp_path_factory.mktemp("bundles")
    subprocess.run([sys.executable, ATHLETE / "train.py", directory], check=True, capture_output=True)
    return directory


@pytest.fixture(scope="module")
def stack(bundles: Path) -> Iterator[LocalStack]:
    """A running stack with two variants and an empty store."""
    variants = choose_variants(ModelPackage.read(ATHLETE), weights={"v1": 70, "v2": 30}, bundles=bundles)
    with LocalStack(variants) as stack:
        yield stack
