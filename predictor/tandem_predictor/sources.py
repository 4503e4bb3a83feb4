"""What a model directory holds: a bundle, a plain ONNX model, a Triton model, or several of these.

tandem.json …           a bundle, served as NAME-DIGEST8
simpler/tandem.json …   in it, the bundle of its simpler model, where it has one, served as NAME-DIGEST8 too
model.onnx              a plain model
1/model.onnx            a plain model as Triton lays it out; the highest version counts
model.onnx/model.onnx   either of these, where the model has files with weights beside it; they may also lie openly
a/…  b/…                several models

Finding models reads no more of them than their names; a bundle is verified when it is opened to be loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tandem.bundle import Bundle
from tandem.errors import BundleError
from tandem.manifest import MANIFEST, MODEL

_FIRST_VERSION: Final = "1"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model on disk.

    Attributes:
        name: Name under which it is served.
        version: Its version.
        onnx: The model file.
        digest: Of the bundle that it comes from, not verified yet; empty for a plain model.
        defect: Why it cannot be served; empty where it has none.
        outer: Digest of the bundle that it is the simpler model of; empty for any other model.
    """

    name: str
    version: str
    onnx: Path
    digest: str = ""
    defect: str = ""
    outer: str = ""

    def pinned(self, digest: str) -> ModelSource:
        """The same, with a defect if it is not the bundle with this digest, or a digest that begins so."""
        stated = self.outer or self.digest
        if self.defect or (stated and stated.startswith(digest)):
            return self
        identity = f"bundle {stated[:8]}" if stated else "not a bundle"
        return replace(self, defect=f"{self.onnx.parent} is {identity}, not {digest[:8]}")

    def bundle(self) -> Bundle | None:
        """The bundle that it comes from, verified; None for a plain model.

        Raises:
            BundleError: It has a defect, or is not what it was when it was found.
        """
        if self.defect:
            raise BundleError(self.defect)
        return Bundle.open(self.onnx.parent, digest=self.digest) if self.digest else None


def find(directory: Path, name: str | None = None) -> list[ModelSource]:
    """All models of a directory: itself, or its subdirectories, by name.

    Args:
        directory: The directory.
        name: Name for a plain model if the directory is one; its own name without it.

    Raises:
        BundleError: The directory cannot be read.
    """
    if single := _open(directory, name or directory.resolve().name):
        return single
    try:
        children = sorted(child for child in directory.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError as error:
        raise BundleError(f"model directory {directory}: {error.strerror}") from None
    # two versions may have the same simpler model
    models = {source.name: source for child in children for source in _open(child, child.name)}
    return [models[name] for name in sorted(models)]


def _open(directory: Path, name: str) -> list[ModelSource]:
    if (directory / MANIFEST).is_file():
        return _bundle(directory, name)
    if file := _model_file(directory):
        return [ModelSource(name, _FIRST_VERSION, file)]
    versions = {
        int(child.name): file
        for child in directory.glob("*")
        if child.name.isdecimal() and (file := _model_file(child)) is not None
    }
    if versions:
        # the highest as a number: 10 comes after 9
        return [ModelSource(name, str(max(versions)), versions[max(versions)])]
    return []


def _model_file(directory: Path) -> Path | None:
    """The model of a directory, in the form of a file or of a directory with that file."""
    return next((file for file in (directory / MODEL, directory / MODEL / MODEL) if file.is_file()), None)


def _bundle(directory: Path, name: str) -> list[ModelSource]:
    try:
        bundle = Bundle.peek(directory)
        simpler = bundle.simpler
    except BundleError as error:
        return [ModelSource(name, "", directory / MODEL, defect=str(error))]
    own = ModelSource(bundle.wire_name, bundle.version, bundle.model_path, bundle.digest)
    if simpler is None:
        return [own]
    inner = ModelSource(simpler.wire_name, simpler.version, simpler.model_path, simpler.digest, outer=bundle.digest)
    return [own, inner]
