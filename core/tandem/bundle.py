"""The bundle: one immutable, digest-addressed directory per version, with all that serving it takes.

    NAME-DIGEST8/
        tandem.json     contract, signature, fitted state, tolerances, requirements, checksum of each other file
        model.onnx      the model
        …               files in which it keeps its weights, where it does, by the names that it states
        golden.npz      golden rows: inputs, features, vectors, and predictions made by the training framework
        *.whl           the model package's own code
        simpler/        another bundle, whose model answers without stored features, where there is one

The digest is the SHA-256 of ``tandem.json``, which holds the SHA-256 of every other file: one number fixes all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from msgspec import UNSET

from tandem.comparison import DEFAULT_TOLERANCES, Tolerance
from tandem.contract import Contract
from tandem.errors import BundleError, DefinitionError
from tandem.golden import Golden
from tandem.importing import import_wheel
from tandem.manifest import GOLDEN, MANIFEST, MODEL, SIMPLER, Manifest, is_wheel, read_manifest
from tandem.model import Model
from tandem.onnx_files import Graph
from tandem.pipeline import Pipeline
from tandem.requirements import unmet_requirements
from tandem.signature import Signature
from tandem.simpler_model import check_need, check_simpler

DIGEST_VARIABLE = "TANDEM_BUNDLE_DIGEST"
"""Environment variable of both components with the digest that their bundle must have, or its beginning."""

MODEL_DIR = "/mnt/models"
"""Where KServe puts a bundle into the containers of both."""

_MAX_MANIFEST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Bundle:
    """A verified bundle; made by :meth:`open`.

    Attributes:
        path: Its directory.
        manifest: Content of its ``tandem.json``.
        digest: SHA-256 of its ``tandem.json``, in hex.
    """

    path: Path
    manifest: Manifest = field(repr=False)
    digest: str

    @classmethod
    def open(cls, path: Path | str, *, digest: str | None = None) -> Bundle:
        """Open a bundle and verify every byte of it.

        Args:
            path: The directory.
            digest: The digest that it must have, or its beginning.

        Raises:
            BundleError: if it is not a bundle, or incomplete, damaged, or another one than asked for.
        """
        bundle = cls.peek(path)
        if digest is not None and not bundle.digest.startswith(digest):
            raise BundleError(f"{bundle.path} is bundle {bundle.digest[:8]}, not {digest[:8]}")
        # the digest first: it is cheap, and another bundle need not be read
        files = bundle.manifest.files
        for name, expected in files.items():
            _verify(bundle.path / name, expected)
        if bundle.simpler is not None:
            cls.open(bundle.simpler.path, digest=bundle.simpler.digest)
        # a file that no checksum covers could be imported or loaded
        own = {MANIFEST} if bundle.simpler is None else {MANIFEST, SIMPLER}
        if strange := {file.name for file in bundle.path.iterdir()} - files.keys() - own:
            raise BundleError(f"{bundle.path}: {', '.join(sorted(strange))} does not belong to the bundle")
        return bundle

    @classmethod
    def peek(cls, path: Path | str) -> Bundle:
        """Read what a bundle says that it is, and verify nothing; not to be served.

        Args:
            path: The directory.

        Raises:
            BundleError: if it is not a bundle.
        """
        directory = Path(path)
        try:
            with (directory / MANIFEST).open("rb") as stream:
                # one byte more shows that the file is too large, without reading the rest
                text = stream.read(_MAX_MANIFEST_BYTES + 1)
        except OSError as error:
            raise BundleError(f"{directory} is not a bundle: {MANIFEST}: {error.strerror}") from error
        if len(text) > _MAX_MANIFEST_BYTES:
            raise BundleError(f"{directory}: {MANIFEST} is larger than {_MAX_MANIFEST_BYTES} bytes")
        return cls(directory, read_manifest(text), hashlib.sha256(text).hexdigest())

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The author's name for the version."""
        return self.manifest.version

    @property
    def wire_name(self) -> str:
        """What the model is called between transformer and predictor: ``NAME-DIGEST8``."""
        return f"{self.name}-{self.digest[:8]}"

    @property
    def signature(self) -> Signature:
        """The model's tensors."""
        return self.manifest.signature

    @property
    def contract(self) -> Contract:
        """The deployment API."""
        return self.manifest.contract

    @property
    def model_path(self) -> Path:
        """The ONNX model."""
        return self.path / MODEL

    @cached_property
    def simpler(self) -> Bundle | None:
        """The bundle within this one, whose model answers without stored features; None if there is none.

        Raises:
            BundleError: if it is not the one that the manifest names, or does not fit.
        """
        try:
            check_need(self.manifest.views, has_simpler=self.manifest.simpler is not UNSET)
            if self.manifest.simpler is UNSET:
                return None
            simpler = Bundle.peek(self.path / SIMPLER)
            if simpler.digest != self.manifest.simpler:
                raise BundleError(f"{simpler.path} is damaged: another bundle than {MANIFEST} states")
            check_simpler(self.contract, simpler.manifest)
        except DefinitionError as error:
            raise BundleError(f"bundle {self.wire_name}: {error}") from None
        return simpler

    def tolerance(self, provider: str) -> Tolerance:
        """Tolerance for an execution provider of ONNX Runtime, such as ``"CPUExecutionProvider"``."""
        return self.manifest.tolerances.get(provider, DEFAULT_TOLERANCES["CPUExecutionProvider"])

    def read(self, name: str) -> bytes:
        """Content of a file, verified after it is read: what is used is what has been verified.

        A directory that others can write to may change after :meth:`open`, between the verification and a read.

        Args:
            name: One of the manifest's files.

        Raises:
            BundleError: if it is damaged by now, or gone.
        """
        file = self.path / name
        try:
            content = file.read_bytes()
        except OSError as error:
            raise BundleError(f"{self.path}: {name}: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != self.manifest.files[name]:
            raise _damaged(file, len(content))
        return content

    def graph(self) -> Graph:
        """The ONNX model with its weights, in memory.

        Raises:
            BundleError: as :meth:`read`.
        """
        # whatever is none of the others is a file of weights, by the names that the graph states
        weights = [name for name in self.manifest.files if name not in (MODEL, GOLDEN) and not is_wheel(name)]
        return Graph(self.read(MODEL), {name: self.read(name) for name in weights})

    def golden(self) -> Golden:
        """Vectors, outputs and answers of the golden rows; the inputs take the package's code to read."""
        return Golden.read(GOLDEN, self.read(GOLDEN))

    def golden_inputs(self) -> Golden:
        """The golden rows with their inputs."""
        return Golden.read(GOLDEN, self.read(GOLDEN), self.model)

    def check_requirements(self) -> None:
        """Refuse a bundle whose requirements this Python environment does not meet.

        Raises:
            BundleError: naming every requirement and what is installed instead.
        """
        if unmet := unmet_requirements(self.manifest.requirements):
            raise BundleError(f"bundle {self.wire_name} does not fit this image: {'; '.join(unmet)}")

    @cached_property
    def model(self) -> Model:
        """The model, imported from the bundle's wheel.

        Raises:
            BundleError: if the requirements are not met, or the code does not fit the manifest.
        """
        self.check_requirements()
        wheel = next(filter(is_wheel, self.manifest.files))
        try:
            model = import_wheel(wheel, self.read(wheel), self.manifest.entry_point)
        except DefinitionError as error:
            raise BundleError(f"bundle {self.wire_name}: {error}") from error
        # whoever runs no code of the package reads the contract in the manifest
        if model.contract != self.contract or model.views != self.manifest.views:
            raise BundleError(f"bundle {self.wire_name}: the contract or views in its code are not those in {MANIFEST}")
        return model

    def pipeline(self) -> Pipeline:
        """The model's pipeline with its fitted state.

        Raises:
            BundleError: as :attr:`model`, or if state is missing.
        """
        pipeline = Pipeline(self.model, self.signature, self.manifest.state)
        try:
            pipeline.check_state()
        except DefinitionError as error:
            raise BundleError(f"bundle {self.wire_name}: {error}") from error
        return pipeline


def _verify(file: Path, expected: str) -> None:
    try:
        digest = _sha256(file)
    except OSError as error:
        raise BundleError(f"{file.parent}: {file.name}: {error.strerror}") from error
    if digest != expected:
        raise _damaged(file, file.stat().st_size)


def _damaged(file: Path, size: int) -> BundleError:
    return BundleError(f"{file.parent}: {file.name} is damaged: {size} bytes with another checksum than stated")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
