"""A bundle for a device: with Tandem's own wheel, pinned requirements and a snapshot, in one directory or archive."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tandem
from tandem import Bundle
from tandem.examples import example_row
from tandem.loading import EXPORTED_BUNDLE, EXPORTED_SNAPSHOT
from tandem.stores.snapshot import SnapshotStore
from tandem.stores.snapshot_format import verify_snapshot
from tandem_cli.errors import AdvisedError

LOCK: Final = "edge_requirements.txt"
"""Pinned requirements of ``tandem-core[onnx]``, with the hashes of their wheels for all platforms."""

CORE: Final = "tandem-core"
_PIN: Final = re.compile(r"^([a-z0-9._-]+)==([^ \\;]+)", re.MULTILINE)
_WHEEL: Final = "Wheel-Version: 1.0\nGenerator: tandem\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_README: Final = """\
# {name} {version}

A version of a model for a device, without a server and without a network. Its digest is
{digest}

| file | what |
|---|---|
| `bundle` | the model |
{snapshot_row}| `wheels` | Tandem's own library |
| `requirements.txt` | what it needs: versions, and the SHA-256 of each wheel |

Install it with Python 3.11 or later, in this directory:

    python3 -m venv .venv
    .venv/bin/pip install --require-hashes -r requirements.txt
{model_requirements}
Without a network on the device, download the wheels elsewhere, for its platform and its version of Python:

    pip download --require-hashes -r requirements.txt --only-binary=:all: -d wheels \\
      --python-version 3.11 --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64

and add `--no-index --find-links wheels` to `pip install`.

Predict:

    import tandem

    model = tandem.load(".")
    print(model.predict([{row}]))

`tandem.load` verifies every byte of the bundle, and replays its golden rows on this device.
{snapshot_text}
"""
_WITH_SNAPSHOT: Final = (
    "The features of all entities are in `features.snapshot`. To renew them, rename a new file to this name, and\n"
    "load the model again."
)
_WITHOUT_SNAPSHOT: Final = (
    'Without a store, every entity is unknown. Give one:\n`tandem.load(".", store="snapshot:///data/features")`.'
)


def write_export(bundle: Bundle, target: Path, *, snapshot: Path | None = None) -> None:
    """Write a bundle for a device, all or nothing.

    Args:
        bundle: The bundle.
        target: A directory that does not exist, or a file that ends in ``.zip``.
        snapshot: Snapshot of the bundle's feature views.

    Raises:
        AdvisedError: if the bundle needs another version of what is pinned.
        SnapshotError: if the snapshot is damaged, or lacks a view of the bundle.
        OSError: if it cannot be written.
    """
    further = _further_requirements(bundle)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as scratch:
        directory = Path(scratch) / bundle.wire_name
        shutil.copytree(bundle.path, directory / EXPORTED_BUNDLE)
        # what was copied is verified
        Bundle.open(directory / EXPORTED_BUNDLE, digest=bundle.digest)
        if snapshot is not None:
            SnapshotStore(snapshot, [use.view for use in bundle.manifest.views])
            verify_snapshot(shutil.copyfile(snapshot, directory / EXPORTED_SNAPSHOT))
        wheel = write_core_wheel(directory / "wheels")
        hash_ = hashlib.sha256(wheel.read_bytes()).hexdigest()
        own = f"./wheels/{wheel.name} --hash=sha256:{hash_}\n"
        (directory / "requirements.txt").write_text(_locked() + own)
        if further:
            (directory / "requirements-model.txt").write_text("\n".join(further) + "\n")
        (directory / "README.md").write_text(
            _readme(bundle, has_snapshot=snapshot is not None, has_further=bool(further))
        )
        result = directory
        if target.suffix == ".zip":
            result = Path(shutil.make_archive(str(Path(scratch) / "archive"), "zip", scratch, bundle.wire_name))
        result.rename(target)


def write_core_wheel(directory: Path) -> Path:
    """Write the wheel of the installed ``tandem-core``, however it is installed; the same bytes each time.

    Args:
        directory: Where to; it is created.
    """
    distribution = metadata.distribution(CORE)
    package = Path(tandem.__file__).parent
    contents = {
        f"tandem/{file.relative_to(package).as_posix()}": file.read_bytes()
        for file in sorted(package.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
    name = f"tandem_core-{distribution.version}"
    contents[f"{name}.dist-info/METADATA"] = (distribution.read_text("METADATA") or "").encode()
    contents[f"{name}.dist-info/WHEEL"] = _WHEEL.encode()
    record = f"{name}.dist-info/RECORD"
    contents[record] = (_record(contents) + f"{record},,\n").encode()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-py3-none-any.whl"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for file_name, content in contents.items():
            # an entry has a time of its own, which is that of the format's first day
            entry = ZipInfo(file_name)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, ZIP_DEFLATED)
    return path


def _record(contents: Mapping[str, bytes]) -> str:
    lines = []
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join(lines)


def _locked() -> str:
    return resources.files("tandem_cli").joinpath(LOCK).read_text()


def _further_requirements(bundle: Bundle) -> list[str]:
    """What the bundle needs beside the pinned libraries.

    Raises:
        AdvisedError: if it needs another version of one of them.
    """
    pins: dict[str, list[str]] = {CORE: [metadata.version(CORE)]}
    for name, version in _PIN.findall(_locked()):
        pins.setdefault(name, []).append(version)
    further = []
    for text in bundle.manifest.requirements:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name == "python":
            continue
        if name not in pins:
            further.append(text)
        elif not any(requirement.specifier.contains(version, prereleases=True) for version in pins[name]):
            raise AdvisedError(
                f"bundle {bundle.wire_name} needs {text}, and devices get {name} {' or '.join(pins[name])}",
                advice="relax the requirement in the model package, and write the bundle again",
            )
    return further


def _readme(bundle: Bundle, *, has_snapshot: bool, has_further: bool) -> str:
    return _README.format(
        name=bundle.name,
        version=bundle.version,
        digest=bundle.digest,
        snapshot_row=f"| `{EXPORTED_SNAPSHOT}` | the features of all entities |\n" if has_snapshot else "",
        model_requirements="    .venv/bin/pip install -r requirements-model.txt\n" if has_further else "",
        row=example_row(bundle.contract),
        snapshot_text=_WITH_SNAPSHOT if has_snapshot else _WITHOUT_SNAPSHOT,
    )
