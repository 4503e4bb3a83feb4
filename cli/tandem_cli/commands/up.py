"""``tandem up``: serve a model on this machine."""

from __future__ import annotations

import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tandem import Bundle
from tandem.package import ModelPackage
from tandem.request_forms import rows_of
from tandem.sources import read_sources
from tandem_cli.features import materialize_tables, views_of
from tandem_cli.local import LocalStack, LocalVariant
from tandem_cli.local.live import watch
from tandem_cli.local.runner import RolloutRunner
from tandem_cli.local.signals import until_interrupted
from tandem_cli.output import Console, Format, OutputOption, print_document
from tandem_cli.variants import choose_variants, parse_weights


class Protocol(StrEnum):
    """How transformer and predictor talk."""

    V2 = "v2"
    GRPC_V2 = "grpc-v2"


def serve_package(
    path: Annotated[Path, typer.Argument(metavar="PATH", exists=True, file_okay=False, help="A model package.")],
    weight: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION=NUMBER", help="Weight of a version; by default as in \\[tool.tandem.weights]."),
    ] = None,
    stable: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="The version that gets all the traffic; the others get none yet."),
    ] = None,
    canary: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Start a canary of this version at once; metrics decide about it."),
    ] = None,
    protocol: Annotated[Protocol, typer.Option(help="How transformer and predictor talk.")] = Protocol.V2,
    processes: Annotated[int, typer.Option(min=1, help="Transformers for each version.")] = 1,
    bundles: Annotated[Path | None, typer.Option(metavar="DIR", exists=True, help="Directory of bundles.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.")] = 0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Serve a model on this machine: Valkey with its features, a pair for each version, and Envoy in front.

    Runs until Ctrl-C or SIGTERM, then stops all its processes.

    Exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 a process or the store failed, 2 the command line is invalid.
    """
    console = Console()
    # standard output has the document only, for the program that reads it
    messages = Console(stderr=True) if output.is_document else console
    if weight and (stable or canary):
        raise typer.BadParameter("--weight cannot be combined with --stable or --canary")
    if canary and canary == stable:
        raise typer.BadParameter("--canary and --stable must be different versions")
    package = ModelPackage.read(path)
    weights = parse_weights(weight or [])
    variants = choose_variants(package, weights=weights, bundles=bundles, stable=stable, canary=canary)
    with (
        # outermost, so that a second Ctrl-C does not interrupt the end of the stack
        until_interrupted(),
        LocalStack(
            variants,
            protocol=protocol.value,
            processes=processes,
            port=port,
            fill=lambda url: _fill(package, url, messages),
        ) as stack,
        RolloutRunner(stack, package.settings, canary=canary) as runner,
    ):
        if output.is_document:
            print_document({**describe(stack), "rollout": runner.name}, output)
        else:
            introduce(stack, console)
            console.print(f"rollout: {runner.name}", highlight=False)
        watch(stack, messages, runner)
    messages.print("stopped")


def introduce(stack: LocalStack, console: Console) -> None:
    """Print where a stack listens, and a request to begin with."""
    shares = ", ".join(f"{variant.name} {variant.weight}" for variant in stack.variants)
    console.print(f"[bold]{stack.model}[/] is served at [bold]{stack.url}[/] (weights: {shares})", soft_wrap=True)
    console.print(
        f"It takes HTTP and gRPC. Envoy's admin interface is at the socket {stack.admin_socket}", soft_wrap=True
    )
    console.print(curl_command(stack), soft_wrap=True, highlight=False, markup=False)


def describe(stack: LocalStack) -> dict[str, object]:
    """The same as plain values, for a document."""
    return {
        "model": stack.model,
        "url": stack.url,
        "admin_socket": str(stack.admin_socket),
        "store_url": stack.store_url,
        "variants": [_describe_variant(variant) for variant in stack.variants],
        "processes": {child.name: child.pid for child in stack.children},
    }


def curl_command(stack: LocalStack) -> str:
    """A curl command that requests a prediction."""
    body = json.dumps({"instances": [_golden_row(stack.variants[0].bundle)]})
    url = f"{stack.url}/v1/models/{stack.model}:predict"
    return f"curl -s {url} -H 'content-type: application/json' -d {shlex.quote(body)}"


def _golden_row(bundle: Bundle) -> dict[str, Any]:
    """The first of a bundle's golden rows, as a client would send it."""
    inputs = bundle.golden_inputs().known_inputs
    return rows_of(bundle.contract, inputs.take(slice(0, 1)).request)[0]


def _fill(package: ModelPackage, store_url: str, console: Console) -> None:
    materialize_tables(views_of(package.load()), read_sources(package), store_url, console)


def _describe_variant(variant: LocalVariant) -> dict[str, object]:
    bundle = variant.bundle
    identity = {"name": variant.name, "version": bundle.version, "weight": variant.weight}
    return {**identity, "bundle": str(bundle.path), "digest": bundle.digest}
