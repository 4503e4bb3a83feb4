"""``tandem up``: serve a model on this machine."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
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
from tandem_cli.local.changing import ChangingStack
from tandem_cli.local.following import POLL_SECONDS, AliasFollower, tag_key
from tandem_cli.local.live import watch
from tandem_cli.local.runner import RolloutRunner
from tandem_cli.local.signals import until_interrupted
from tandem_cli.output import Console, Format, OutputOption, print_document
from tandem_cli.registered import choose_start
from tandem_cli.registry import SCHEME, RegistryOption, open_alias, open_registry, parse_reference
from tandem_cli.rollout.targets.stack_files import state_directory
from tandem_cli.variants import choose_variants, parse_weights
from tandem_rollout.api.status import RolloutStatus


class Protocol(StrEnum):
    """How transformer and predictor talk."""

    V2 = "v2"
    GRPC_V2 = "grpc-v2"


ModelArgument = Annotated[str, typer.Argument(metavar="PATH", help="A model package, or models:/NAME@ALIAS.")]
WeightOption = Annotated[
    list[str] | None,
    typer.Option(metavar="VERSION=NUMBER", help="Weight of a version; by default as in \\[tool.tandem.weights]."),
]
StableOption = Annotated[
    str | None,
    typer.Option(metavar="VERSION", help="The version that gets all the traffic; the others get none yet."),
]
CanaryOption = Annotated[
    str | None,
    typer.Option(metavar="VERSION", help="Start a canary of this version at once; metrics decide about it."),
]
PackageOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", exists=True, file_okay=False, help="With models:/: package with tables and rollout settings."
    ),
]
PollOption = Annotated[
    float, typer.Option(metavar="SECONDS", min=0.1, max=60.0, help="With models:/: between two readings of the alias.")
]
ResumeOption = Annotated[
    bool, typer.Option(help="With models:/: begin with the version that the last stack of the alias served.")
]


def serve_model(
    path: ModelArgument,
    weight: WeightOption = None,
    stable: StableOption = None,
    canary: CanaryOption = None,
    protocol: Annotated[Protocol, typer.Option(help="How transformer and predictor talk.")] = Protocol.V2,
    processes: Annotated[int, typer.Option(min=1, help="Transformers for each version.")] = 1,
    bundles: Annotated[Path | None, typer.Option(metavar="DIR", exists=True, help="Directory of bundles.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.")] = 0,
    package: PackageOption = None,
    registry: RegistryOption = None,
    poll: PollOption = POLL_SECONDS,
    resume: ResumeOption = True,
    output: OutputOption = Format.TABLE,
) -> None:
    """Serve a model on this machine: Valkey with its features, a pair for each version, and Envoy in front.

    With models:/NAME@ALIAS, the stack follows the alias: when it moves, a canary of that version starts.

    Runs until Ctrl-C or SIGTERM, then stops all its processes.

    Exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 a process, the store or the registry failed, 2 the command line is
    invalid.
    """
    console = Console()
    # standard output has the document only, for the program that reads it
    messages = Console(stderr=True) if output.is_document else console
    if path.startswith(SCHEME):
        if weight or stable or canary or bundles:
            raise typer.BadParameter(f"--weight, --stable, --canary and --bundles cannot be combined with {SCHEME}")
        served = _registered(path, registry, package, poll=poll, resume=resume)
    else:
        if package is not None:
            raise typer.BadParameter(f"--package is for {SCHEME}; PATH is the package")
        served = _packaged(path, weight or [], bundles, stable=stable, canary=canary)
    _serve(served, Processes(protocol.value, processes, port), console, messages, output)


@dataclass(frozen=True)
class Processes:
    """How the processes of a stack are started.

    Attributes:
        protocol: How transformer and predictor talk.
        per_variant: Transformers for each version.
        port: Port to listen on; 0 for any free one.
    """

    protocol: str
    per_variant: int
    port: int


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a stack serves.

    Attributes:
        variants: The versions, with their weights.
        package: The package with feature tables and the settings of the rollout; None if there is none.
        canary: Version of a canary that starts at once; None for none.
        status: The status from which the rollout goes on; None to begin anew.
        follow: Follows an alias for the stack and its rollout; None if there is none to follow.
    """

    variants: list[LocalVariant]
    package: ModelPackage | None
    canary: str | None = None
    status: RolloutStatus | None = None
    follow: Callable[[ChangingStack, RolloutRunner], AliasFollower] | None = None


def _packaged(path: str, weight: list[str], bundles: Path | None, *, stable: str | None, canary: str | None) -> Served:
    if not Path(path).is_dir():
        raise typer.BadParameter(f"directory {path!r} does not exist", param_hint="PATH")
    if weight and (stable or canary):
        raise typer.BadParameter("--weight cannot be combined with --stable or --canary")
    if canary and canary == stable:
        raise typer.BadParameter("--canary and --stable must be different versions")
    package = ModelPackage.read(path)
    weights = parse_weights(weight)
    variants = choose_variants(package, weights=weights, bundles=bundles, stable=stable, canary=canary)
    return Served(variants=variants, package=package, canary=canary)


def _registered(text: str, uri: str | None, package: Path | None, *, poll: float, resume: bool) -> Served:
    reference, registry = parse_reference(text), open_registry(uri)
    directory = state_directory() / "bundles"
    start = choose_start(registry, reference, directory=directory, resume=resume)

    def follow(stack: ChangingStack, runner: RolloutRunner) -> AliasFollower:
        alias = open_alias(registry, reference, tag=tag_key(runner.name))
        return AliasFollower(registry, alias, stack, runner, directory=directory, seconds=poll)

    return Served(
        variants=[start.variant],
        package=ModelPackage.read(package) if package is not None else None,
        status=start.status,
        follow=follow if reference.alias is not None else None,
    )


def _serve(served: Served, started: Processes, console: Console, messages: Console, output: Format) -> None:
    package = served.package
    stack = ChangingStack(
        served.variants,
        protocol=started.protocol,
        processes=started.per_variant,
        port=started.port,
        fill=None if package is None else lambda url: _fill(package, url, messages),
    )
    settings = package.settings if package is not None else {}
    # outermost, so that a second Ctrl-C does not interrupt the end of the stack
    with until_interrupted(), ExitStack() as running:
        running.enter_context(stack)
        runner = running.enter_context(RolloutRunner(stack, settings, canary=served.canary, status=served.status))
        follower = running.enter_context(served.follow(stack, runner)) if served.follow is not None else None
        if output.is_document:
            print_document({**describe(stack), "rollout": runner.name}, output)
        else:
            introduce(stack, console)
            console.print(f"rollout: {runner.name}", highlight=False)
        watch(stack, messages, runner, follower)
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
