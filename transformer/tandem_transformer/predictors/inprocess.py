"""The predictor in the transformer's own process: no hop, for small models and for development."""

from __future__ import annotations

from math import inf

from tandem.bundle import Bundle
from tandem.comparison import check_outputs
from tandem.inputs import Tensors
from tandem.onnx_model import OnnxModel


class InProcessPredictor:
    """ONNX Runtime on CPU, called from the event loop.

    Args:
        bundle: The version; its golden rows are replayed at once.

    Raises:
        BundleError: if the model does not predict what training did.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._model = OnnxModel(bundle.graph())
        golden = bundle.golden()
        check_outputs(self._model.run(golden.vectors), golden.outputs, bundle.tolerance("CPUExecutionProvider"))

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        """Output tensors by name, at once.

        Raises:
            Internal: ``inference_failed`` if ONNX Runtime fails on them.
        """
        return self._model.run(tensors)

    async def close(self) -> None:
        """Nothing to give back."""
