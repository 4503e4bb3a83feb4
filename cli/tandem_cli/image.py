"""The build context of a bundle's OCI image, from which both containers of a pair take the bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from tandem import Bundle

BASE: Final = "busybox:1.37"
"""Default base of bundle images: an init container needs nothing of it but ``cp``."""

_DOCKERFILE: Final = """\
ARG BASE={base}
FROM ${{BASE}}
LABEL org.opencontainers.image.title="{name}" \\
      org.opencontainers.image.version="{version}" \\
      io.tandem-serving.bundle.digest="{digest}"
COPY models /models
USER 65532:65532
"""


def write_context(bundle: Bundle, directory: Path, base: str = BASE) -> None:
    """Write what an image of a bundle is built from.

    Args:
        bundle: The bundle.
        directory: Gets a ``Dockerfile`` and ``models/``.
        base: Image that the image is based on.
    """
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copytree(bundle.path, directory / "models")
    dockerfile = _DOCKERFILE.format(base=base, name=bundle.name, version=bundle.version, digest=bundle.digest)
    (directory / "Dockerfile").write_text(dockerfile)
