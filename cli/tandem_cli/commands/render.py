"""``tandem render`` and ``tandem crd``: the objects that the controller applies, printed as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tandem_cli.manifests import read_rollouts
from tandem_cli.output import dump_yaml
from tandem_rollout.api.crd import build_crds
from tandem_rollout.api.fields import InvalidSpecError
from tandem_rollout.api.manifest import parse
from tandem_rollout.render import render
from tandem_rollout.render.platform import Platform

_DEFAULT = Platform()


def render_rollouts(
    files: Annotated[
        list[Path],
        # not exists=True, which rejects -
        typer.Argument(metavar="FILE…", dir_okay=False, help="Manifests, - for stdin."),
    ],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of rollouts that have none.")
    ] = "default",
    transformer_image: Annotated[str, typer.Option(help="Image of transformers.")] = _DEFAULT.transformer_image,
    predictor_image: Annotated[str, typer.Option(help="Image of predictors.")] = _DEFAULT.predictor_image,
    predictor_gpu_image: Annotated[
        str, typer.Option(help="Image of predictors on GPU.")
    ] = _DEFAULT.predictor_gpu_image,
    triton_image: Annotated[str, typer.Option(help="Image of Triton.")] = _DEFAULT.triton_image,
    domain: Annotated[str, typer.Option(help="Domain of default hostnames.")] = _DEFAULT.domain,
    prometheus: Annotated[str, typer.Option(help="Address of Prometheus for KEDA.")] = _DEFAULT.prometheus,
    controller_namespace: Annotated[
        str, typer.Option(help="Namespace of the controller.")
    ] = _DEFAULT.controller_namespace,
) -> None:
    """Print the objects of InferenceRollouts: InferenceServices, ScaledObjects, routes and the rest, as YAML.

    Weights are those of the spec: without the controller, nothing waits for a variant to become ready.

    Exit codes: 0 printed, 1 a rollout is invalid, 2 the command line is invalid.
    """
    platform = Platform(
        transformer_image=transformer_image,
        predictor_image=predictor_image,
        predictor_gpu_image=predictor_gpu_image,
        triton_image=triton_image,
        domain=domain,
        prometheus=prometheus,
        controller_namespace=controller_namespace,
    )
    objects: list[dict[str, Any]] = []
    for file, manifest in [(path, rollout) for path in files for rollout in read_rollouts(path)]:
        metadata = manifest.get("metadata") or {}
        if isinstance(metadata, dict):
            manifest["metadata"] = {"namespace": namespace, **metadata}
        try:
            rollout = parse(manifest)
            if rollout.spec.registry is not None:
                raise InvalidSpecError("spec.registry: the controller reads the version; write it into spec.bundle")
            objects += render(rollout, platform)
        except InvalidSpecError as error:
            name = metadata.get("name") if isinstance(metadata, dict) else None
            raise InvalidSpecError(f"{': '.join(map(str, filter(None, (file, name))))}: {error}") from None
    typer.echo(dump_yaml(objects), nl=False)


def print_crd() -> None:
    """Print the CustomResourceDefinitions as YAML."""
    typer.echo(dump_yaml(build_crds()), nl=False)
