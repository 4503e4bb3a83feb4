"""A version of a model as a function in this process, by whatever names its bundle."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from tandem.bundle import Bundle
from tandem.embedded import EmbeddedModel, Get
from tandem.errors import BundleError
from tandem.manifest import MANIFEST
from tandem.stores import open_store

EXPORTED_BUNDLE: Final = "bundle"
"""Directory of the bundle within an export."""

EXPORTED_SNAPSHOT: Final = "features.snapshot"
"""Snapshot of the feature views within an export, where it has one."""

REGISTRY: Final = "models:/"
"""What the name of a version in a registry begins with."""

ENTRY_POINTS: Final = "tandem.bundles"
"""Group of the entry points that fetch bundles: the scheme is the name, and the function returns a directory."""


def load(bundle: Bundle | Path | str, *, store: str | Get | None = None, threads: int = 1) -> EmbeddedModel:
    """Load a version of a model, to be called as a function: ``tandem.load("bundles/NAME-DIGEST8").predict(rows)``.

    It needs no server and no network, but that of the store. The bundle is verified, and its golden rows are replayed.

    Args:
        bundle: The directory of a bundle; the directory of an export for devices, whose snapshot is then the store; a
            version in a registry, ``models:/NAME/3`` or ``models:/NAME@ALIAS``, with ``tandem-cli[registry]``; or a
            bundle that is open.
        store: Where stored features are read: the URL of an online store, such as ``snapshot:///data/features``, or a
            function that reads packed rows by key. Without one every entity is unknown.
        threads: Threads of ONNX Runtime within one call.

    Returns:
        The model; see :meth:`~tandem.embedded.EmbeddedModel.predict`.

    Raises:
        BundleError: if the bundle is refused, with the reason.
        StoreError: if there is no such store; SnapshotError if a snapshot is refused.
    """
    if not isinstance(bundle, Bundle):
        directory, snapshot = _locate(bundle)
        bundle = Bundle.open(directory)
        store = snapshot if store is None else store
    return EmbeddedModel.open(bundle, get=_reader(store, bundle), threads=threads)


def _locate(name: Path | str) -> tuple[Path, str | None]:
    """The directory of a bundle, and the URL of the snapshot that it is exported with."""
    path = _fetch(name) if str(name).startswith(REGISTRY) else Path(name)
    if path.is_file():
        raise BundleError(f"{path} is a file; unpack it, and load the directory")
    if not (path / EXPORTED_BUNDLE / MANIFEST).exists():
        return path, None
    snapshot = path / EXPORTED_SNAPSHOT
    return path / EXPORTED_BUNDLE, f"snapshot://{snapshot}" if snapshot.exists() else None


def _fetch(name: Path | str) -> Path:
    for entry_point in entry_points(group=ENTRY_POINTS, name=REGISTRY.partition(":")[0]):
        directory: Path = entry_point.load()(str(name))
        return directory
    raise BundleError(f"{name} is a version in a registry; install tandem-cli[registry]")


def _reader(store: str | Get | None, bundle: Bundle) -> Get | None:
    if not isinstance(store, str):
        return store
    opened: Any = open_store(store, [use.view for use in bundle.manifest.views])
    get: Get = opened.get_now
    return get
