"""kubectl and helm, against the cluster that ``KUBECONFIG`` names."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


class CommandError(AssertionError):
    """A command failed; the message has its standard error."""


def run(*command: str, stdin: str | None = None) -> str:
    """Standard output of a command.

    Raises:
        CommandError: if it fails.
    """
    process = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if process.returncode:
        raise CommandError(f"{' '.join(command)}: {process.stderr.strip() or process.stdout.strip()}")
    return process.stdout


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Standard output of kubectl."""
    return run("kubectl", *arguments, stdin=stdin)


def get(kind: str, name: str, namespace: str) -> dict[str, Any]:
    """An object."""
    manifest: dict[str, Any] = json.loads(kubectl("-n", namespace, "get", kind, name, "-o", "json"))
    return manifest


def items(kind: str, namespace: str, labels: str = "") -> list[dict[str, Any]]:
    """Objects of a kind."""
    selector = ["-l", labels] if labels else []
    objects: list[dict[str, Any]] = json.loads(kubectl("-n", namespace, "get", kind, *selector, "-o", "json"))["items"]
    return objects


def apply(objects: Iterable[dict[str, Any]], namespace: str) -> None:
    """Apply manifests."""
    documents = "\n---\n".join(json.dumps(manifest) for manifest in objects)
    kubectl("-n", namespace, "apply", "-f", "-", stdin=documents)


def eventually(look: Callable[[], T | None], expectation: str, seconds: float = 120.0) -> T:
    """What a look finds, as soon as it finds something.

    Raises:
        AssertionError: if that takes longer.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {expectation}; last seen: {value!r}")
        time.sleep(0.5)
