"""The version of Tandem: `version` in the root's ``pyproject.toml``, and every other place that says it.

``version.py`` prints it, ``version.py 0.2.0`` writes it everywhere, ``version.py --check`` names the places that say
another one and ends with code 1. Generated files follow with ``make manifests``. Nothing but the standard library, so
that a release needs no installation for it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
NUMBER: Final = r"(?P<number>\d+\.\d+\.\d+)"
SOURCE: Final = re.compile(rf'^version = "{NUMBER}"$', re.MULTILINE)

_IMAGE: Final = rf"\btandem-(?:transformer|predictor|controller|cli):{NUMBER}"
PLACES: Final = {
    # of the packages, of which a test holds the list against the workspace's members
    "{core,transformer,predictor,rollout,offline,stream,cli}/pyproject.toml": SOURCE.pattern,
    "charts/*/Chart.yaml": rf"^(?:version|appVersion): {NUMBER}$",
    "*/Dockerfile": rf"^ARG VERSION={NUMBER}$",
    "charts/model/ci/*.yaml": _IMAGE,
    "docs/**/*.md": rf"{_IMAGE}|^\| `VERSION`, `REVISION` \| `{NUMBER.replace('number', 'argument')}`",
}
"""Files, and what says the version in them. A brace lists alternatives."""


def read(root: Path = ROOT) -> str:
    """The version.

    Raises:
        ValueError: if the root's ``pyproject.toml`` has none.
    """
    match = SOURCE.search((root / "pyproject.toml").read_text())
    if match is None:
        raise ValueError(f'{root / "pyproject.toml"} has no line such as: version = "0.1.0"')
    return match["number"]


def places(root: Path = ROOT) -> Iterator[tuple[Path, re.Pattern[str]]]:
    """Each file that says the version, and the pattern of what says it there."""
    for glob, text in PLACES.items():
        pattern = re.compile(text, re.MULTILINE)
        for path in sorted(path for part in _alternatives(glob) for path in root.glob(part)):
            if pattern.search(path.read_text()):
                yield path, pattern


def differing(root: Path = ROOT) -> list[str]:
    """Places that say another version than the source, as ``file:line: version``."""
    version = read(root)
    return [
        f"{path.relative_to(root)}:{text.count(chr(10), 0, start) + 1}: {text[start:end]}"
        for path, pattern in places(root)
        for text in [path.read_text()]
        for start, end in _spans(pattern, text)
        if text[start:end] != version
    ]


def write(version: str, root: Path = ROOT) -> list[Path]:
    """Write a version to the source and to every other place.

    Returns:
        The files that were changed.

    Raises:
        ValueError: if it is not a version such as ``0.2.0``, which Python, Helm and tags of images all take.
    """
    if not re.fullmatch(NUMBER, version):
        raise ValueError(f"{version!r} is not a version such as 0.2.0")
    changed = []
    for path, pattern in [(root / "pyproject.toml", SOURCE), *places(root)]:
        text = old = path.read_text()
        for start, end in reversed(_spans(pattern, text)):
            text = text[:start] + version + text[end:]
        if text != old:
            path.write_text(text)
            changed.append(path)
    return changed


def _spans(pattern: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    return [match.span(match.lastgroup or 0) for match in pattern.finditer(text)]


def _alternatives(glob: str) -> list[str]:
    """A glob for each name in braces."""
    match = re.fullmatch(r"\{(.*)\}(.*)", glob)
    return [name + match[2] for name in match[1].split(",")] if match else [glob]


def main() -> int:
    """Print, write or check the version."""
    parser = argparse.ArgumentParser(
        description="Print the version, write another one everywhere, or check all places."
    )
    parser.add_argument("version", nargs="?", help="the version to write, such as 0.2.0")
    parser.add_argument("--check", action="store_true", help="name the places that say another version")
    arguments = parser.parse_args()
    if arguments.version:
        try:
            changed = write(arguments.version)
        except ValueError as error:
            parser.error(str(error))
        print(*(path.relative_to(ROOT) for path in changed), sep="\n")
    elif arguments.check:
        lines = differing()
        print(*lines, sep="\n", end="\n" if lines else "")
        return bool(lines)
    else:
        print(read())
    return 0


if __name__ == "__main__":
    sys.exit(main())
