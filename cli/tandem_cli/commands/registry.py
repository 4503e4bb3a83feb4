"""``tandem register`` and ``tandem registry``: versions of models and their aliases in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from tandem import Bundle
from tandem.compatibility import compare
from tandem.package import ModelPackage
from tandem_cli.errors import AdvisedError
from tandem_cli.output import Console, Format, OutputOption, print_document
from tandem_cli.registry import RegistryOption, open_registry, parse_reference, read_lineage

if TYPE_CHECKING:
    from tandem_offline.registry import AliasMove

_PARITY_ROWS: Final = 200
"""Random rows that are compared before a bundle is registered."""

commands = typer.Typer(no_args_is_help=True, help="Versions of models and their aliases in MLflow.")

AliasOption = Annotated[str, typer.Option(help="The alias.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept in the history.")]
ReferenceArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="As models:/NAME/3 or models:/NAME@champion.")
]


def register(
    path: Annotated[
        Path, typer.Argument(metavar="BUNDLE", exists=True, file_okay=False, help="Directory of a bundle.")
    ],
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME=NUMBER", help="How good the version is; repeatable.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="A further fact, such as data=s3://…; repeatable.")
    ] = None,
    alias: Annotated[
        str | None, typer.Option(help="Point this alias to the version, as `registry promote` does.")
    ] = None,
    package: Annotated[
        Path | None,
        typer.Option(metavar="PATH", exists=True, file_okay=False, help="Model package: record its commit and tables."),
    ] = None,
    no_parity: Annotated[bool, typer.Option("--no-parity", help="Do not compare the modes before.")] = False,
    registry: RegistryOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Register a bundle as the next version of its model, after replaying its golden rows.

    Some random rows are predicted in each mode that runs in this process, as `parity` does, and the bundle is not
    registered if one differs. A bundle that is registered already is not registered again.

    Exit codes: 0 registered, 1 the bundle is invalid or the registry failed, 2 the command line is invalid.
    """
    metrics = {name: _number(name, text) for name, text in _pairs("--metric", metric).items()}
    bundle = Bundle.open(path)
    if not no_parity:
        _check_parity(bundle)
    client = open_registry(registry, create=True)
    lineage = read_lineage(ModelPackage.read(package)) if package else {}
    version = client.register(bundle, metrics=metrics, tags={**lineage, **_pairs("--tag", tag)})
    if alias is not None:
        client.promote(version, alias=alias)
        version = client.resolve(parse_reference(version.reference))
    if output.is_document:
        print_document(version, output)
    else:
        aliases = f", {', '.join(version.aliases)}" if version.aliases else ""
        typer.echo(f"{version.reference} is {bundle.wire_name}{aliases}")


@commands.command("list")
def list_versions(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A model; by default all.")] = None,
    registry: RegistryOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List the versions of a model, or of all models.

    Exit codes: 0 listed, 1 the registry failed or has no such model, 2 the command line is invalid.
    """
    client = open_registry(registry)
    versions = [version for model in ([name] if name else client.names()) for version in client.versions(model)]
    if output.is_document:
        print_document(versions, output)
        return
    table = Table("version", "author's name", "digest", "aliases", "registered", "metrics")
    for version in versions:
        metrics = ", ".join(f"{key} {value:g}" for key, value in sorted(version.metrics.items()))
        registered_at = f"{version.registered_at:%Y-%m-%d %H:%M}"
        aliases = ", ".join(version.aliases)
        table.add_row(version.reference, version.version, version.digest[:8], aliases, registered_at, metrics)
    Console().print(table)


@commands.command()
def history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model.")],
    registry: RegistryOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List the moves of a model's aliases, the oldest first.

    Exit codes: 0 listed, 1 the registry failed or has no such model, 2 the command line is invalid.
    """
    moves = open_registry(registry).history(name)
    if output.is_document:
        print_document(moves, output)
        return
    table = Table("when", "what", "alias", "from", "to", "reason")
    for move in moves:
        moved_at = f"{move.moved_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(moved_at, move.action, move.alias, str(move.previous or "-"), str(move.number), move.reason)
    Console().print(table)


@commands.command()
def diff(
    old: ReferenceArgument,
    new: ReferenceArgument,
    registry: RegistryOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Compare two versions: deployment API, model signature, requirements and metrics.

    Exit codes: 0 compared, 1 the registry failed or has no such version, 2 the command line is invalid.
    """
    references = (parse_reference(old), parse_reference(new))
    client = open_registry(registry)
    before, after = map(client.resolve, references)
    one, other = client.manifest(before), client.manifest(after)
    changes = compare(one.contract, other.contract)
    facts = {
        "columns": (", ".join(one.signature.columns), ", ".join(other.signature.columns)),
        "requirements": (", ".join(one.requirements), ", ".join(other.requirements)),
    }
    for name in sorted({*before.metrics, *after.metrics}):
        values = (before.metrics.get(name), after.metrics.get(name))
        facts[name] = ("-" if values[0] is None else f"{values[0]:g}", "-" if values[1] is None else f"{values[1]:g}")
    if output.is_document:
        differing = {name: {"old": first, "new": second} for name, (first, second) in facts.items() if first != second}
        print_document({"old": before, "new": after, "contract": changes, "other": differing}, output)
        return
    table = Table("what", before.reference, after.reference)
    for change in changes:
        table.add_row(change.field, "", f"{change.what}{' (breaks clients)' if change.breaking else ''}")
    for name, (first, second) in facts.items():
        if first != second:
            table.add_row(name, first, second)
    Console().print(
        table if table.row_count else "the versions have the same deployment API, columns, requirements and metrics"
    )


@commands.command()
def promote(
    version: ReferenceArgument,
    alias: AliasOption = "champion",
    reason: ReasonOption = "",
    allow_breaking: Annotated[
        bool, typer.Option("--allow-breaking", help="Also if it breaks clients of the version that has the alias.")
    ] = False,
    registry: RegistryOption = None,
) -> None:
    """Point an alias to a version, unless that breaks clients of the version that has it.

    Exit codes: 0 promoted, 1 refused, or the registry failed or has no such version, 2 the command line is invalid.
    """
    reference = parse_reference(version)
    client = open_registry(registry)
    move = client.promote(client.resolve(reference), alias=alias, allow_breaking=allow_breaking, reason=reason)
    typer.echo(f"{alias} is {version} already" if move is None else _moved(move))


@commands.command()
def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model.")],
    alias: AliasOption = "champion",
    reason: ReasonOption = "",
    registry: RegistryOption = None,
) -> None:
    """Point an alias back to the version that had it before.

    Exit codes: 0 rolled back, 1 there is no such version, or the registry failed, 2 the command line is invalid.
    """
    typer.echo(_moved(open_registry(registry).rollback(name, alias=alias, reason=reason)))


def _check_parity(bundle: Bundle) -> None:
    """Refuse a bundle of which a mode in this process differs from the others.

    Raises:
        AdvisedError: with the first row that differs.
    """
    # imported late: the transformer takes a while to import
    from tandem_cli.parity.modes import IN_PROCESS
    from tandem_cli.parity.report import describe_difference
    from tandem_cli.parity.running import run_parity

    report = run_parity(bundle, IN_PROCESS, rows=_PARITY_ROWS, golden=False)
    for parity in report.parities.values():
        if parity.first is not None:
            raise AdvisedError(
                "\n".join(describe_difference(parity, parity.first)),
                advice=f"run `tandem parity {bundle.path}`; --no-parity registers the bundle in any case",
            )


def _moved(move: AliasMove) -> str:
    previous = "" if move.previous is None else f", was {move.previous}"
    return f"{move.alias} is version {move.number}{previous}"


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    for text in texts or []:
        if text.find("=") < 1:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
    return {name: value for name, _, value in (text.partition("=") for text in texts or [])}


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{name} is {text!r}, which is not a number", param_hint="--metric") from None
