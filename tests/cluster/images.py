"""Images of the cluster tests, built from the real Dockerfiles.

``TANDEM_BUILD_IMAGE`` is the command that builds a Dockerfile and puts the image where the cluster's nodes find it; it
is called with ``-t NAME:TAG -f DOCKERFILE [--build-arg K=V] CONTEXT``. The default is ``docker build``, which is right
where the nodes share docker's images.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tandem import Bundle
from tandem_cli.image import write_context

ROOT: Final = Path(__file__).parents[2]
TAG: Final = "e2e"
STORE: Final = f"tandem-e2e-store:{TAG}"
TRANSFORMER: Final = f"tandem-transformer:{TAG}"
NEXT_TRANSFORMER: Final = f"tandem-transformer:{TAG}-next"
PREDICTOR: Final = f"tandem-predictor:{TAG}"
CONTROLLER: Final = f"tandem-controller:{TAG}"
CLI: Final = f"tandem-cli:{TAG}"

BUNDLE_BASE: Final = os.environ.get("TANDEM_BUNDLE_BASE", "busybox:1.37")


def build(name: str, dockerfile: Path, context: Path, **arguments: str) -> None:
    """Build an image, and put it on the cluster."""
    command = shlex.split(os.environ.get("TANDEM_BUILD_IMAGE", "docker build"))
    options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
    subprocess.run([*command, "-t", name, "-f", str(dockerfile), *options, str(context)], check=True)


def build_programs() -> None:
    """Transformer, predictor, controller and the store."""
    for name, folder in ((TRANSFORMER, "transformer"), (PREDICTOR, "predictor"), (CONTROLLER, "rollout")):
        build(name, ROOT / folder / "Dockerfile", ROOT)
    store = ROOT / "tests/cluster/store"
    build(STORE, store / "Dockerfile", store)


def build_next_transformer() -> None:
    """Another image of the transformer, as a new release is."""
    build(NEXT_TRANSFORMER, ROOT / "transformer/Dockerfile", ROOT, VERSION="0.1.1")


def build_bundle(name: str, bundle: Bundle) -> None:
    """The image of a bundle."""
    with tempfile.TemporaryDirectory() as directory:
        context = Path(directory) / "context"
        write_context(bundle, context, BUNDLE_BASE)
        build(name, context / "Dockerfile", context)
