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
    source = bundle if isinstance(bundle, Bundle) else _directory(bundle)
    if store is None and isinstance(source, Path) and source.name == EXPORTED_BUNDLE:
        snapshot = source.parent / EXPORTED_SNAPSHOT
        store = f"snapshot://{snapshot}" if snapshot.exists() else None
    model_bundle = source if isinstance(source, Bundle) else Bundle.open(source)
    return EmbeddedModel.open(model_bundle, get=_reader(store, model_bundle), threads=threads)


def _directory(name: Path | str) -> Path:
    """The directory of the bundle itself."""
    path = _fetch(name) if str(name).startswith(REGISTRY) else Path(name)
    if not (path / MANIFEST).exists() and (path / EXPORTED_BUNDLE / MANIFEST).exists():
        return path / EXPORTED_BUNDLE
    if path.is_file():
        raise BundleError(f"{path} is a file; unpack it, and load the directory")
    return path


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
