"""``tandem bundle``: look at a bundle, and prove that it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tandem import Bundle, EmbeddedModel
from tandem_cli.image import image
from tandem_cli.output import Console, Format, OutputOption, print_json

commands = typer.Typer(no_args_is_help=True, help="Look at a bundle, prove that it is whole, ship it.")

commands.command("image")(image)

PROOFS = {
    "training": "training: outputs are those of the training framework",
    "transport": "transport only: outputs are those of ONNX Runtime when the bundle was written",
}
"""What replaying golden rows proves, by ``proof`` of the manifest."""

BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", exists=True, file_okay=False, help="Directory of a bundle.")
]


@commands.command()
def show(path: BundleArgument, output: OutputOption = Format.TABLE) -> None:
    """Show what a bundle is: version, deployment API, and the order of the model's columns.

    Exit codes: 0 shown, 1 the bundle is refused, 2 the command line is invalid.
    """
    bundle = Bundle.open(path)
    if output is Format.JSON:
        print_json({"digest": bundle.digest, "hop_name": bundle.hop_name, "manifest": bundle.manifest})
        return
    facts = _facts(bundle)
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(name, value)
    # a digest in two pieces cannot be copied: on a narrow terminal the line goes on, as any other
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
    typer.echo(f"{model.bundle.hop_name} is whole: {rows} golden rows replayed{proof}, digest {model.bundle.digest}")


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
            f"{tensor.name} {tensor.dtype}: {', '.join(tensor.columns)}" for tensor in manifest.signature.inputs
        ),
        "outputs": "\n".join(f"{tensor.name} {tensor.dtype}" for tensor in manifest.signature.outputs),
        "golden rows prove": PROOFS[manifest.proof],
        "requirements": ", ".join(manifest.requirements),
        "files": ", ".join(sorted(manifest.files)),
    }


def _fields(fields: dict[str, Any]) -> str:
    return "\n".join(
        f"{name}: {field.type}{f' ({field.unit})' if field.unit else ''}" for name, field in fields.items()
    )
