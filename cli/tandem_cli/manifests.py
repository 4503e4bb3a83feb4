"""Manifests of InferenceRollouts, read from files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer
import yaml

from tandem_rollout import API_VERSION, KIND
from tandem_rollout.api.fields import InvalidSpecError


def read_rollouts(file: Path) -> list[dict[str, Any]]:
    """Manifests of the InferenceRollouts in a file, - for stdin.

    Raises:
        InvalidSpecError: if it is not valid YAML, has no InferenceRollout, or one of another API version.
        typer.BadParameter: if the file cannot be read.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        documents = list(filter(None, yaml.safe_load_all(text)))
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE…") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidSpecError(f"{file}: not valid YAML: {error}") from None
    rollouts = [document for document in documents if isinstance(document, dict) and document.get("kind") == KIND]
    if not rollouts:
        raise InvalidSpecError(f"{file}: contains no {KIND}")
    for rollout in rollouts:
        if (version := rollout.get("apiVersion")) != API_VERSION:
            raise InvalidSpecError(f"{file}: apiVersion must be {API_VERSION}, not {version}")
    return rollouts
