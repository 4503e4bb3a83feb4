"""What a model directory holds: a bundle, a plain ONNX model, a Triton model, or several of these.

tandem.json …           a bundle, served as NAME-DIGEST8
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
    """

    name: str
    version: str
    onnx: Path
    digest: str = ""
    defect: str = ""

    def pinned(self, digest: str) -> ModelSource:
        """The same, with a defect if it is not the bundle with this digest, or a digest that begins so."""
        if self.defect or (self.digest and self.digest.startswith(digest)):
            return self
        identity = f"bundle {self.digest[:8]}" if self.digest else "not a bundle"
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
        return [single]
    try:
        children = sorted(child for child in directory.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError as error:
        raise BundleError(f"model directory {directory}: {error.strerror}") from None
    models = [source for child in children if (source := _open(child, child.name))]
    return sorted(models, key=lambda source: source.name)


def _open(directory: Path, name: str) -> ModelSource | None:
    if (directory / MANIFEST).is_file():
        return _bundle(directory, name)
    if file := _model_file(directory):
        return ModelSource(name, _FIRST_VERSION, file)
    versions = {
        int(child.name): file
        for child in directory.glob("*")
        if child.name.isdecimal() and (file := _model_file(child)) is not None
    }
    if versions:
        # the highest as a number: 10 comes after 9
        return ModelSource(name, str(max(versions)), versions[max(versions)])
    return None


def _model_file(directory: Path) -> Path | None:
    """The model of a directory, in the form of a file or of a directory with that file."""
    return next((file for file in (directory / MODEL, directory / MODEL / MODEL) if file.is_file()), None)


def _bundle(directory: Path, name: str) -> ModelSource:
    try:
        bundle = Bundle.peek(directory)
    except BundleError as error:
        return ModelSource(name, "", directory / MODEL, defect=str(error))
    return ModelSource(bundle.wire_name, bundle.version, bundle.model_path, bundle.digest)
