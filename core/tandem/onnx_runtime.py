"""ONNX Runtime, kept from reporting home: whatever needs it imports it from here.

Its packages send usage events to their maker and leave an id on the disk unless this variable is set before the import.
"""

import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

from tandem.onnx_files import Graph

__all__ = ["onnxruntime", "open_session"]


def open_session(
    model: Path | Graph, options: onnxruntime.SessionOptions, providers: Sequence[str]
) -> onnxruntime.InferenceSession:
    """A session of a model on disk, or of one in memory, of which nothing is read from disk any more.

    Args:
        model: The model.
        options: Options of the session; changed where the model has weights of its own in memory.
        providers: Execution providers, the preferred one first.

    Raises:
        Exception: Whatever ONNX Runtime has against it; its exceptions have no common base of their own.
    """
    if isinstance(model, Path):
        return onnxruntime.InferenceSession(str(model), options, providers=list(providers))
    if model.missing:
        raise ValueError(f"it keeps weights in {', '.join(model.missing)}, which is not beside it")
    if model.weights:
        sizes = [len(content) for content in model.weights.values()]
        options.add_external_initializers_from_files_in_memory(list(model.weights), list(model.weights.values()), sizes)
    return onnxruntime.InferenceSession(model.content, options, providers=list(providers))
