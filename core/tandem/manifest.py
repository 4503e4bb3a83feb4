"""The manifest of a bundle, ``tandem.json``: its fields, and the rules that it obeys."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from tandem.comparison import Tolerance
from tandem.contract import Contract
from tandem.errors import BundleError, DefinitionError
from tandem.features import ViewUse
from tandem.signature import Signature

FORMAT = "tandem-bundle/1"
MANIFEST = "tandem.json"
MODEL = "model.onnx"
GOLDEN = "golden.npz"
SIMPLER = "simpler"


Proof = Literal["training", "transport"]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``tandem.json``.

    Attributes:
        format: :data:`FORMAT`.
        name: Name of the model.
        version: The author's name for the version, as in ``/versions/{version}``.
        entry_point: Where the model is declared within the wheel.
        contract: The deployment API.
        views: Feature views that the model looks up.
        signature: Tensors and the order of the columns.
        signature_hash: Its hash.
        state: Fitted state, by transform.
        tolerances: By execution provider.
        requirements: What the image must have installed (PEP 508), and ``python`` itself.
        proof: What the golden outputs are: ``training``, of the training framework, so that a replay proves that export
            and runtime predict what was trained; or ``transport``, of ONNX Runtime itself, so that a replay proves that
            all arrives and runs as when the bundle was written, and nothing about training.
        training_histogram: How many training predictions fell into each bucket of the contract, the last open-ended.
        files: SHA-256 of each other file, by name.
        simpler: Digest of the bundle in the directory :data:`SIMPLER`, whose model answers where a view has
            ``fallback="model"``; unset for none.
    """

    format: str
    name: str
    version: str
    entry_point: str
    contract: Contract
    views: tuple[ViewUse, ...]
    signature: Signature
    signature_hash: str
    state: dict[str, dict[str, Any]]
    tolerances: dict[str, Tolerance]
    requirements: tuple[str, ...]
    training_histogram: tuple[int, ...]
    files: dict[str, str]
    proof: Proof = "training"
    # not written where there is none, so that a bundle without one keeps its digest
    simpler: str | msgspec.UnsetType = msgspec.UNSET


def is_file_name(name: str) -> bool:
    """Whether a file of a bundle can be called so: letters, digits, ``_``, then also ``.``, ``+``, ``-``."""
    return re.fullmatch(r"\w[\w.+-]*", name, re.ASCII) is not None


def read_manifest(text: bytes) -> Manifest:
    """The manifest in the content of a ``tandem.json``.

    Raises:
        BundleError: if it is not valid.
    """
    try:
        # first by itself, so that a bundle of another format is named as such, whatever its fields are
        format_ = msgspec.json.decode(text).get("format")
    except (msgspec.DecodeError, AttributeError):
        raise BundleError(f"{MANIFEST} is damaged: not a JSON object") from None
    if format_ != FORMAT:
        raise BundleError(f"{MANIFEST} has format {format_!r}; this version reads {FORMAT!r}")
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.ValidationError, TypeError, DefinitionError) as error:
        raise BundleError(f"{MANIFEST}: {error}") from None
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    """Refuse a manifest whose parts contradict each other."""
    missing = {MODEL, GOLDEN} - manifest.files.keys()
    if missing or not any(map(is_wheel, manifest.files)):
        raise BundleError(f"{MANIFEST} lists no {', '.join(sorted(missing)) or 'wheel'}")
    # names are joined to the directory of the bundle: none may lead out of it
    if not all(map(is_file_name, manifest.files)):
        raise BundleError(f"{MANIFEST} lists a file outside the bundle")
    if MANIFEST in manifest.files:
        raise BundleError(f"{MANIFEST} lists itself")
    if manifest.simpler is not msgspec.UNSET and not re.fullmatch("[0-9a-f]{64}", manifest.simpler):
        raise BundleError(f"{MANIFEST}: {manifest.simpler!r} is not the digest of a bundle")
    if SIMPLER in manifest.files:
        raise BundleError(f"{MANIFEST} lists a file {SIMPLER!r}, which is the name of a directory")
    if manifest.name != manifest.contract.model:
        raise BundleError(f"{MANIFEST} is of {manifest.name!r}, its contract of {manifest.contract.model!r}")
    if manifest.signature.hash != manifest.signature_hash:
        raise BundleError(f"{MANIFEST}: the signature does not have the stated hash")


def is_wheel(name: str) -> bool:
    """Whether a file of a bundle is the wheel of the model package."""
    return name.endswith(".whl")
