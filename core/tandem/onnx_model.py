"""The ONNX model as ONNX Runtime sees it: its tensors, and calling it in the same process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tandem.errors import DefinitionError, Internal
from tandem.inputs import Tensors
from tandem.onnx_files import Graph
from tandem.signature import TensorSpec

DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}
"""NumPy dtypes by the names that ONNX Runtime gives to tensor types."""


NO_ZIPMAP = (
    "export the classifier so that probabilities are a tensor: skl2onnx.to_onnx(…, options={'zipmap': False}), "
    "onnxmltools.convert_lightgbm(…, zipmap=False)"
)
"""What to do about an output that is a sequence of maps."""


class OnnxModel:
    """An ONNX model in this process, on CPU.

    Args:
        model: The ``.onnx`` file, or a model in memory.
        threads: Threads within one call.

    Raises:
        DefinitionError: if ONNX Runtime cannot read it, or one of its tensors cannot be served.
    """

    def __init__(self, model: Path | Graph, *, threads: int = 1) -> None:
        from tandem.onnx_runtime import onnxruntime, open_session

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = open_session(model, options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
            raise DefinitionError(f"ONNX Runtime cannot read the model: {error}") from error
        self.inputs = [_spec(argument) for argument in self._session.get_inputs()]
        self.outputs = [_spec(argument) for argument in self._session.get_outputs()]
        self._names = [spec.name for spec in self.outputs]

    def run(self, tensors: Tensors) -> Tensors:
        """Output tensors for a batch of input tensors.

        Raises:
            Internal: ``inference_failed`` if ONNX Runtime fails on them; which row is at fault it does not say.
        """
        try:
            outputs = self._session.run(self._names, tensors)
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
            raise Internal(f"ONNX Runtime failed: {error}", code="inference_failed") from None
        return dict(zip(self._names, outputs, strict=True))


def _spec(argument: Any) -> TensorSpec:
    if argument.type not in DTYPES:
        hint = f"; {NO_ZIPMAP}" if "map(" in argument.type else ""
        raise DefinitionError(
            f"tensor {argument.name!r} of the ONNX model has type {argument.type}, which cannot be served{hint}"
        )
    return TensorSpec(argument.name, DTYPES[argument.type], (), _shape(argument.shape))


def _shape(shape: Sequence[Any]) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in shape)
