"""A directory of bundles: writing one into it, all or nothing, and opening those that are there."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec import UNSET

from tandem.bundle import Bundle, _sha256
from tandem.manifest import MANIFEST, SIMPLER, Manifest


def write(
    parent: Path | str,
    manifest: Manifest,
    files: Mapping[str, Path],
    *,
    simpler: Bundle | None = None,
    prove: Callable[[Bundle], None] = lambda bundle: None,
) -> Bundle:
    """Write a bundle, all or nothing.

    Args:
        parent: Directory in which ``NAME-DIGEST8`` is made. A bundle that is there already is left alone.
        manifest: Its manifest, as yet without checksums.
        files: The other files by the names they get.
        simpler: The bundle that becomes part of it.
        prove: Called with the bundle before it gets its place; what it raises, no bundle is left of.
    """
    parent = Path(parent)
    is_new = not parent.exists()
    parent.mkdir(parents=True, exist_ok=True)
    sums = {name: _sha256(file) for name, file in sorted(files.items())}
    inner = UNSET if simpler is None else simpler.digest
    complete = msgspec.structs.replace(manifest, files=sums, simpler=inner)
    text = msgspec.json.format(msgspec.json.encode(complete), indent=2)
    digest = hashlib.sha256(text).hexdigest()
    target = parent / f"{manifest.name}-{digest[:8]}"
    # a sibling, so that the rename below stays within one file system
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=parent))
    try:
        for name, file in files.items():
            _copy_durably(file, scratch / name)
        if simpler is not None:
            (scratch / SIMPLER).mkdir()
            for name in (MANIFEST, *simpler.manifest.files):
                _copy_durably(simpler.path / name, scratch / SIMPLER / name)
            (scratch / SIMPLER).chmod(0o755)
        # every file is on the disk before the rename makes the bundle visible
        (scratch / MANIFEST).write_bytes(text)
        _flush(scratch / MANIFEST)
        # mkdtemp makes directories for their owner alone, and pods run as another user
        scratch.chmod(0o755)
        # what was copied is verified, so that a file that changed while it was read is noticed
        bundle = Bundle.open(scratch)
        prove(bundle)
        try:
            scratch.rename(target)
        except OSError:
            # the name has the digest: whoever was first has written the same bytes
            if not target.is_dir():
                raise
            return Bundle.open(target)
        # not opened again: every byte has been verified, and there may be gigabytes of them
        return Bundle(target, bundle.manifest, bundle.digest)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if is_new and not any(parent.iterdir()):
            parent.rmdir()


def find(parent: Path | str) -> list[Bundle]:
    """All bundles directly under a directory, by version and digest."""
    # directories that begin with a dot are writes under way
    bundles = [
        Bundle.open(file.parent) for file in Path(parent).glob(f"*/{MANIFEST}") if not file.parent.name.startswith(".")
    ]
    return sorted(bundles, key=lambda bundle: (bundle.name, bundle.version, bundle.digest))


def _copy_durably(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    _flush(target)


def _flush(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
