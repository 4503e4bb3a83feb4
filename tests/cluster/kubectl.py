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


def run(*command: str, given: str | None = None) -> str:
    """Standard output of a command.

    Raises:
        CommandError: if it fails.
    """
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def kubectl(*arguments: str, given: str | None = None) -> str:
    """Standard output of kubectl."""
    return run("kubectl", *arguments, given=given)


def get(kind: str, name: str, namespace: str) -> dict[str, Any]:
    """An object."""
    found: dict[str, Any] = json.loads(kubectl("-n", namespace, "get", kind, name, "-o", "json"))
    return found


def items(kind: str, namespace: str, labels: str = "") -> list[dict[str, Any]]:
    """Objects of a kind."""
    selector = ["-l", labels] if labels else []
    found: list[dict[str, Any]] = json.loads(kubectl("-n", namespace, "get", kind, *selector, "-o", "json"))["items"]
    return found


def apply(objects: Iterable[dict[str, Any]], namespace: str) -> None:
    """Apply manifests."""
    documents = "\n---\n".join(json.dumps(each) for each in objects)
    kubectl("-n", namespace, "apply", "-f", "-", given=documents)


def eventually(look: Callable[[], T | None], what: str, seconds: float = 120.0) -> T:
    """What a look finds, as soon as it finds something.

    Raises:
        AssertionError: if that takes longer.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {found!r}")
        time.sleep(0.5)
