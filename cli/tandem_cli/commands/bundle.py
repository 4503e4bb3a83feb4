"""``tandem bundle``: show a bundle, verify it, build an image of it, and export it for devices."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from tandem import Bundle, EmbeddedModel
from tandem.onnx_pipeline import write_pipeline
from tandem.signature import describe_columns
from tandem_cli.edge import write_export
from tandem_cli.errors import FAILED, AdvisedError
from tandem_cli.image import BASE, write_context
from tandem_cli.output import Console, Format, OutputOption, print_document
from tandem_cli.registry import bundle_path

commands = typer.Typer(no_args_is_help=True, help="Show a bundle, verify it, build an image of it, export it.")

PROOFS: Final = {
    "training": "training: outputs are those of the training framework",
    "transport": "transport only: outputs are those of ONNX Runtime when the bundle was written",
}
"""What replaying golden rows proves, by ``proof`` of the manifest."""

_BUILDERS: Final = ("docker", "podman", "buildah")

BundleArgument = Annotated[
    Path,
    typer.Argument(
        metavar="BUNDLE", parser=bundle_path, help="Directory of a bundle, or a version, models:/NAME@ALIAS."
    ),
]


@commands.command()
def show(path: BundleArgument, output: OutputOption = Format.TABLE) -> None:
    """Show a bundle: its version, deployment API, and the order of the model's columns.

    Exit codes: 0 shown, 1 the bundle is invalid, 2 the command line is invalid.
    """
    bundle = Bundle.open(path)
    if output.is_document:
        document = {"digest": bundle.digest, "wire_name": bundle.wire_name, "manifest": bundle.manifest}
        print_document(document, output)
        return
    facts = _facts(bundle)
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(name, value)
    # a digest in two pieces cannot be copied: on a narrow terminal the line wraps
    console = Console(highlight=False)
    console.width = max(console.width, max(map(len, facts)) + 4 + len(bundle.digest))
    console.print(table)


@commands.command()
def verify(path: BundleArgument) -> None:
    """Verify every byte of a bundle, and replay its golden rows through transforms and model.

    Exit codes: 0 the bundle is whole, 1 it is not, 2 the command line is invalid.
    """
    model = EmbeddedModel.open(path)
    rows = len(model.bundle.golden_inputs().inputs or ())
    proof = "" if model.bundle.manifest.proof == "training" else ", which prove transport only"
    typer.echo(f"{model.bundle.wire_name} is whole: {rows} golden rows replayed{proof}, digest {model.bundle.digest}")


@commands.command()
def image(
    path: BundleArgument,
    tag: Annotated[str | None, typer.Option("--tag", "-t", help="Name of the image; default: NAME:DIGEST8.")] = None,
    base: Annotated[str, typer.Option(help="Base image; it must contain `cp`.")] = BASE,
    builder: Annotated[
        str | None,
        typer.Option(help=f"Program that builds: {', '.join(_BUILDERS)}. Default: the first that is installed."),
    ] = None,
    context: Annotated[
        Path | None, typer.Option(help="Write Dockerfile and files to this directory instead of building.")
    ] = None,
) -> None:
    """Build an OCI image of a bundle, after verifying every byte of it.

    Exit codes: 0 built or written, 1 the bundle is invalid or the builder failed, 2 the command line is invalid.
    """
    bundle = Bundle.open(path)
    name = tag or f"{bundle.name}:{bundle.digest[:8]}"
    if context is not None:
        # a further file would damage the bundle, and the copy would contain itself
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
        raise AdvisedError(
            f"none of {', '.join(_BUILDERS)} is installed", advice="write the build context with --context"
        )
    if shutil.which(program) is None:
        raise typer.BadParameter(f"{program} is not installed", param_hint="--builder")
    with tempfile.TemporaryDirectory() as directory:
        write_context(bundle, Path(directory), base)
        if subprocess.run([program, "build", "-t", name, directory], check=False).returncode:
            raise typer.Exit(FAILED)
    typer.echo(f"built {name} of {bundle.wire_name}")


@commands.command()
def export(
    path: BundleArgument,
    edge: Annotated[
        Path | None, typer.Option("--edge", metavar="PATH", help="Directory, or .zip file, to be written.")
    ] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Add this file of `tandem snapshot` to --edge."),
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option("--onnx", metavar="FILE", dir_okay=False, help="Write the transforms as ONNX.")
    ] = None,
) -> None:
    """Write a bundle for a device, with what runs it: Tandem's wheel, and pinned requirements with hashes.

    With --onnx, write its transforms as an ONNX graph, for devices without Python.

    Exit codes: 0 written, 1 the bundle or the snapshot is invalid, or a transform cannot be written, 2 the command
    line is invalid.
    """
    if (edge is None and onnx is None) or (edge is None and snapshot is not None):
        raise typer.BadParameter("give --edge, with or without --snapshot, or --onnx")
    bundle = Bundle.open(path)
    for option, target in (("--edge", edge), ("--onnx", onnx)):
        # a further file would damage the bundle, and the copy would contain itself
        if target is not None and target.resolve().is_relative_to(bundle.path.resolve()):
            raise typer.BadParameter(f"{target} is in the bundle", param_hint=option)
        if target is not None and target.exists():
            raise typer.BadParameter(f"{target} exists", param_hint=option)
    try:
        if edge is not None:
            write_export(bundle, edge, snapshot=snapshot)
            typer.echo(f"wrote {edge} with {bundle.wire_name}; its README.md says how to run it")
        if onnx is not None:
            _write_onnx(bundle, onnx)
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}") from None


def _write_onnx(bundle: Bundle, target: Path) -> None:
    result = write_pipeline(bundle)
    if result.content is None:
        reasons = "; ".join(f"{name} {reason}" for name, reason in result.refused.items())
        written = f" (the others can: {', '.join(result.written)})" if result.written else ""
        raise AdvisedError(
            f"transforms of {bundle.wire_name} cannot be written as ONNX: {reasons}{written}",
            advice="write them with operators of NumPy on whole columns, or compute these columns on the device",
        )
    target.write_bytes(result.content)
    typer.echo(f"wrote {target} with {len(result.written)} transforms; it gives the input tensors of the model")


def _facts(bundle: Bundle) -> dict[str, str]:
    manifest = bundle.manifest
    contract = manifest.contract
    return {
        "model": bundle.name,
        "version": bundle.version,
        "digest": bundle.digest,
        "serving keys": _fields(contract.serving_keys),
        "passed features": _fields(contract.passed_features),
        "request parameters": _fields(contract.request_parameters),
        "answers": _fields(contract.answers),
        "feature views": "\n".join(f"{use.name}: {', '.join(use.column_names())}" for use in manifest.views),
        "inputs": "\n".join(
            f"{tensor.name} {tensor.dtype}: {describe_columns(tensor.columns)}" for tensor in manifest.signature.inputs
        ),
        "outputs": "\n".join(f"{tensor.name} {tensor.dtype}" for tensor in manifest.signature.outputs),
        "golden rows prove": PROOFS[manifest.proof],
        **({"simpler model": bundle.simpler.wire_name} if bundle.simpler is not None else {}),
        "requirements": ", ".join(manifest.requirements),
        "files": ", ".join(sorted(manifest.files)),
    }


def _fields(fields: dict[str, Any]) -> str:
    return "\n".join(
        f"{name}: {field.type}{f' ({field.unit})' if field.unit else ''}" for name, field in fields.items()
    )
