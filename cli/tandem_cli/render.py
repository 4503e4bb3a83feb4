"""``tandem render`` and ``tandem crd``: what the controller would apply, to look at or to do without the controller."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from tandem_rollout import API_VERSION, KIND
from tandem_rollout.crd import crds
from tandem_rollout.fields import InvalidSpecError
from tandem_rollout.manifest import parse
from tandem_rollout.platform import Platform
from tandem_rollout.render import render

_DEFAULT = Platform()


class _Dumper(yaml.SafeDumper):
    """YAML that a person reads: nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(objects: list[dict[str, Any]]) -> str:
    """Manifests as YAML documents."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def render_rollouts(
    files: Annotated[
        list[Path],
        # not exists=True: it would refuse -
        typer.Argument(metavar="FILE…", dir_okay=False, help="Manifests, - for stdin."),
    ],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of rollouts that name none.")
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

    Weights are those of the spec: without the controller nobody waits until a variant is ready.

    Exit codes: 0 printed, 1 a rollout is not valid, 2 the command line is invalid.
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
    for file, manifest in [(path, each) for path in files for each in read_rollouts(path)]:
        metadata = manifest.get("metadata") or {}
        if isinstance(metadata, dict):
            manifest["metadata"] = {"namespace": namespace, **metadata}
        try:
            objects += render(parse(manifest), platform)
        except InvalidSpecError as error:
            name = metadata.get("name") if isinstance(metadata, dict) else None
            raise InvalidSpecError(f"{': '.join(map(str, filter(None, (file, name))))}: {error}") from None
    typer.echo(dump(objects), nl=False)


def print_crd() -> None:
    """Print the CustomResourceDefinitions as YAML."""
    typer.echo(dump(crds()), nl=False)


def read_rollouts(file: Path) -> list[dict[str, Any]]:
    """Manifests of the InferenceRollouts in a file, - for stdin.

    Raises:
        InvalidSpecError: There is none, or it is of another version.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        documents = [each for each in yaml.safe_load_all(text) if each]
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE…") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidSpecError(f"{file}: this is no YAML: {error}") from None
    rollouts = [each for each in documents if isinstance(each, dict) and each.get("kind") == KIND]
    if not rollouts:
        raise InvalidSpecError(f"{file}: there is no {KIND} in it")
    for each in rollouts:
        if each.get("apiVersion") != API_VERSION:
            raise InvalidSpecError(f"{file}: apiVersion must be {API_VERSION}, not {each.get('apiVersion')}")
    return rollouts
