"""``tandem bundle image``: a bundle as an OCI image, from which both halves of a pair take it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tandem import Bundle, BundleError
from tandem_cli.errors import FAILED

BASE = "busybox:1.37"
"""Default base of bundle images: all that an init container needs of it is ``cp``."""

_BUILDERS = ("docker", "podman", "buildah")
_DOCKERFILE = """\
ARG BASE={base}
FROM ${{BASE}}
LABEL org.opencontainers.image.title="{name}" \\
      org.opencontainers.image.version="{version}" \\
      io.tandem-serving.bundle.digest="{digest}"
COPY models /models
USER 65532:65532
"""


def image(
    path: Annotated[
        Path, typer.Argument(metavar="BUNDLE", exists=True, file_okay=False, help="Directory of a bundle.")
    ],
    tag: Annotated[str | None, typer.Option("--tag", "-t", help="Name of the image; default: NAME:DIGEST8.")] = None,
    base: Annotated[str, typer.Option(help="Image that it is based on; it must have `cp`.")] = BASE,
    builder: Annotated[
        str | None, typer.Option(help=f"Program that builds: {', '.join(_BUILDERS)}. Default: the first there is.")
    ] = None,
    context: Annotated[
        Path | None, typer.Option(help="Write Dockerfile and files to this directory instead of building.")
    ] = None,
) -> None:
    """Build an OCI image of a bundle, which has been verified byte by byte before.

    Exit codes: 0 built or written, 1 the bundle is refused or the builder failed, 2 the command line is invalid.
    """
    bundle = Bundle.open(path)
    name = tag or f"{bundle.name}:{bundle.digest[:8]}"
    if context is not None:
        if context.resolve().is_relative_to(bundle.path.resolve()):
            raise typer.BadParameter(f"{context} is in the bundle", param_hint="--context")
        try:
            if context.exists() and any(context.iterdir()):
                raise typer.BadParameter(f"{context} is not empty", param_hint="--context")
            write_context(bundle, context, base)
        except OSError as error:
            raise typer.BadParameter(f"{context}: {error.strerror}", param_hint="--context") from None
        typer.echo(f"wrote {context}; build it: docker build -t {name} {context}")
        return
    program = builder or next(filter(shutil.which, _BUILDERS), None)
    if program is None:
        raise BundleError(f"none of {', '.join(_BUILDERS)} is installed; write the build context with --context")
    if shutil.which(program) is None:
        raise typer.BadParameter(f"{program} is not installed", param_hint="--builder")
    with tempfile.TemporaryDirectory() as directory:
        write_context(bundle, Path(directory), base)
        if subprocess.run([program, "build", "-t", name, directory], check=False).returncode:
            raise typer.Exit(FAILED)
    typer.echo(f"built {name} of {bundle.hop_name}")


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
