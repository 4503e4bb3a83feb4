"""One ONNX model in ONNX Runtime: its tensors, and running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tandem.errors import BundleError, Internal, MalformedRequest
from tandem.manifest import MODEL
from tandem.oip import DATATYPES, datatype_of
from tandem.oip.tensors import Array, bytes_array
from tandem.onnx_files import Graph, missing_files
from tandem.onnx_model import DTYPES, NO_ZIPMAP
from tandem.onnx_runtime import onnxruntime, open_session

Feeds = dict[str, Array]

_DATATYPES: Final[Mapping[str, str]] = {name: datatype_of(np.dtype(dtype)) for name, dtype in DTYPES.items()}
"""Datatypes of the Open Inference Protocol by the names that ONNX Runtime gives to tensor types."""

_FATAL: Final = 4


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of a model.

    Attributes:
        name: Its name in the graph.
        datatype: Its datatype in the Open Inference Protocol.
        shape: Its shape, -1 where a dimension is free.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type that carries it."""
        return DATATYPES[self.datatype]

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape can be it."""
        return len(shape) == len(self.shape) and all(
            size == declared or declared < 0 for size, declared in zip(shape, self.shape, strict=True)
        )


class Session:
    """An ONNX model, loaded.

    Args:
        model: The ``.onnx`` file, or a model in memory.
        providers: Execution providers by preference, full names.
        intra_op_threads: Threads of one run.

    Raises:
        BundleError: The file cannot be loaded, an execution provider is not there, or the model takes or gives
            something that is not a tensor.

    Attributes:
        provider: The execution provider that runs the model.
        inputs: Its inputs, in the order of the graph.
        outputs: Its outputs, in the order of the graph.
        batchable: Whether the first dimension of every input is free, so that rows can be added. What an output
            declares does not count: converters write ``[1]`` for labels of any number.
    """

    def __init__(
        self, model: Path | Graph, providers: Sequence[str] = ("CPUExecutionProvider",), intra_op_threads: int = 1
    ) -> None:
        path = model if isinstance(model, Path) else Path(MODEL)
        check_providers(providers)
        if providers[0] != "CPUExecutionProvider":
            # CUDA and cuDNN come in wheels of their own, where the dynamic linker does not look
            onnxruntime.preload_dlls()
        try:
            self._session = open_session(model, _options(intra_op_threads), providers)
        except Exception as error:  # ONNX Runtime's exceptions have no common root
            if missing := model.missing if isinstance(model, Graph) else path.is_file() and missing_files(path):
                raise BundleError(f"{path} keeps weights in {', '.join(missing)}, which is not beside it") from None
            raise BundleError(f"{path}: ONNX Runtime refuses the model: {error}") from None
        self.provider: str = self._session.get_providers()[0]
        if self.provider != providers[0]:
            raise BundleError(f"{path}: {providers[0]} did not start; ONNX Runtime would fall back to {self.provider}")
        self.inputs = tuple(_info(path, node) for node in self._session.get_inputs())
        self.outputs = tuple(_info(path, node) for node in self._session.get_outputs())
        self.batchable = all(info.shape[:1] == (-1,) for info in self.inputs)
        self._strings = {info.name for info in self.outputs if info.datatype == "BYTES"}

    def run(self, feeds: Feeds, outputs: Sequence[str]) -> list[Array]:
        """Outputs of the given names; strings go in as ``str`` objects and come out as UTF-8 ``bytes``.

        Raises:
            MalformedRequest: The model refuses the values.
            Internal: Anything else went wrong in ONNX Runtime.
        """
        try:
            results = self._session.run(outputs, feeds)
        # of all its exceptions only this one is about the client's values
        except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
            raise MalformedRequest(f"the model refuses the input: {error}", code="refused_by_model") from None
        except Exception as error:
            raise Internal(f"ONNX Runtime failed: {error}", code="inference_failed") from None
        if self._strings:
            return [
                bytes_array(result) if name in self._strings else result
                for name, result in zip(outputs, results, strict=True)
            ]
        return list(results)


def _options(intra_op_threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    # A refused request is answered, not also written to standard error in a form of its own.
    options.log_severity_level = _FATAL
    # Threads that spin between requests take the CPU that the event loop needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def check_providers(providers: Sequence[str]) -> None:
    """Refuse execution providers that the installed ONNX Runtime does not have.

    Raises:
        BundleError: Names them, and those that there are.
    """
    available = onnxruntime.get_available_providers()
    if missing := [provider for provider in providers if provider not in available]:
        raise BundleError(
            f"the installed ONNX Runtime {onnxruntime.__version__} has no {', '.join(missing)}; "
            f"it has {', '.join(available)}"
        )


def _info(path: Path, node: Any) -> TensorInfo:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        hint = f"; {NO_ZIPMAP}" if "map(" in node.type else ""
        raise BundleError(f"{path}: {node.name!r} is a {node.type}, which the protocol cannot carry{hint}")
    return TensorInfo(node.name, datatype, tuple(size if isinstance(size, int) else -1 for size in node.shape))
