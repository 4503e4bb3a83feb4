"""Requirements of a bundle (PEP 508), compared with what this Python environment has."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable

from packaging.requirements import InvalidRequirement, Requirement


def unmet_requirements(requirements: Iterable[str]) -> list[str]:
    """For each requirement that the environment does not meet, the requirement and what is installed instead.

    Args:
        requirements: Requirements as a wheel states them; ``python`` is Python itself.
    """
    return [reason for text in requirements if (reason := _describe_unmet(text))]


def _describe_unmet(text: str) -> str | None:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        return f"{text!r} cannot be read: {error}"
    if requirement.marker is not None and not requirement.marker.evaluate():
        return None
    if requirement.name == "python":
        installed = platform.python_version()
    else:
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            return f"{text} is not installed"
    # PEP 440 leaves prereleases out by default, but this one is installed
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    return f"needs {text}, has {installed}"
