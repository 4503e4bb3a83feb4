"""One served model: requests are checked, run and answered."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Sequence
from typing import Any, Final

from tandem.bundle import Bundle
from tandem.errors import MalformedRequest
from tandem.oip import InferRequest, InferResponse, Tensor
from tandem.oip.extensions import model_config
from tandem.oip.tensors import Array, malformed
from tandem_predictor import golden
from tandem_predictor.batcher import Batcher
from tandem_predictor.callers import UNKNOWN, Caller
from tandem_predictor.config import PredictorConfig
from tandem_predictor.metrics import ModelMetrics
from tandem_predictor.session import Feeds, Session, TensorInfo
from tandem_predictor.sources import ModelSource
from tandem_predictor.warmup import warm_up

logger = logging.getLogger(__name__)

#: Triton's name for a model of this kind; clients use it to tell what serves them.
PLATFORM: Final = "onnxruntime_onnx"


class ServedModel:
    """A model that is ready: golden rows replayed, warmed up.

    Args:
        source: Where it is.
        config: Flags.
        metrics: Its metrics.

    Raises:
        BundleError: The model cannot be loaded, or does not answer its golden rows as the training framework did.

    Attributes:
        name: Its name.
        version: Its version.
        metrics: Its metrics.
    """

    def __init__(self, source: ModelSource, config: PredictorConfig, metrics: ModelMetrics) -> None:
        self.name = source.name
        self.version = source.version
        self.metrics = metrics
        self._config = config
        bundle = source.bundle()
        self._session = session = Session(
            bundle.graph() if bundle else source.onnx, config.execution_providers, config.intra_op_threads
        )
        sample = _replay_golden(bundle, session)
        self._warm_up = observed = warm_up(session, config.max_batch_size, sample)
        self._batchable = observed.batchable
        if not observed.batchable:
            logger.warning(
                "requests run one by one: %s", observed.message, extra={"model": self.name, "reason": observed.reason}
            )
        self._inputs = {info.name: info for info in session.inputs}
        self._outputs = {info.name: info for info in session.outputs}
        self._output_names = tuple(self._outputs)
        self.batcher = Batcher(
            self._run,
            max_rows=config.max_batch_size if observed.batchable else 1,
            max_delay=config.max_batch_delay_ms / 1e3 if observed.batchable else 0,
            max_queue_rows=config.max_queue_rows,
            instances=config.instances,
            timeout=config.request_timeout_ms / 1e3,
            inline=observed.seconds < config.inline_below_ms / 1e3,
            observe=metrics.rows.observe,
            waited=metrics.queue_seconds.inc,
            dropped=metrics.drop,
        )
        # The gauge outlives the model: it must not keep an unloaded one in memory.
        batcher = weakref.ref(self.batcher)
        metrics.queue_rows.set_function(lambda: own.queued_rows if (own := batcher()) else 0)

    def metadata(self) -> dict[str, Any]:
        """Model metadata as in the protocol, and why requests are not batched where they are not."""
        metadata: dict[str, Any] = {
            "name": self.name,
            "versions": [self.version],
            "platform": PLATFORM,
            "inputs": [_described(info, info.shape) for info in self._session.inputs],
            "outputs": [
                # converters declare one row for labels of any number
                _described(info, (-1, *info.shape[1:]) if self._batchable and info.shape else info.shape)
                for info in self._session.outputs
            ],
        }
        if not self._batchable:
            metadata["parameters"] = {"batching": "off", "batching_reason": self._warm_up.reason}
        return metadata

    def configuration(self) -> dict[str, Any]:
        """Model configuration as in Triton's extension."""
        config = self._config
        delay = {"max_queue_delay_microseconds": round(config.max_batch_delay_ms * 1e3)}
        kind = "KIND_CPU" if self._session.provider == "CPUExecutionProvider" else "KIND_GPU"
        described = model_config(
            self.metadata(),
            backend="onnxruntime",
            max_batch_size=config.max_batch_size if self._batchable else 0,
            dynamic_batching=delay if self._batchable and config.max_batch_size > 1 else None,
            instances={"name": self.name, "kind": kind, "count": config.instances},
        )
        return {**described, "default_model_filename": "model.onnx"}

    async def infer(self, request: InferRequest, caller: Caller = UNKNOWN) -> InferResponse:
        """The answer to a request.

        Args:
            request: The request.
            caller: Who waits for the answer, and until when.

        Raises:
            MalformedRequest: An input or output is unknown, missing, or of another datatype or shape than the model's.
            Overloaded: Too many rows wait.
            DeadlineExceeded: No result in time.
            Internal: The session failed.
        """
        feeds, rows = self._feeds(request.inputs)
        names = self._wanted(request) if request.outputs else self._output_names
        results = await self.batcher.submit(feeds, rows, names, caller)
        outputs = [
            Tensor(name, self._outputs[name].datatype, result.shape, result)
            for name, result in zip(names, results, strict=True)
        ]
        return InferResponse(self.name, outputs, self.version, request.id)

    def _run(self, feeds: Feeds, outputs: Sequence[str]) -> list[Array]:
        start = time.perf_counter()
        try:
            return self._session.run(feeds, outputs)
        finally:
            self.metrics.inference_seconds.observe(time.perf_counter() - start)

    def _feeds(self, inputs: Sequence[Tensor]) -> tuple[Feeds, int]:
        """Arrays for the session in the order of the model's inputs, and the number of rows."""
        tensors = {tensor.name: tensor for tensor in inputs}
        if tensors.keys() != self._inputs.keys():
            self._refuse_names(tensors.keys() - self._inputs.keys(), self._inputs.keys() - tensors.keys())
        feeds = {name: self._array(tensors[name]) for name in self._inputs}
        # counted as one row: what its first dimension means is not known
        if not self._batchable:
            return feeds, 1
        rows = {len(array) for array in feeds.values()}
        if len(rows) > 1:
            sizes = ", ".join(f"{name!r} has {len(array)}" for name, array in feeds.items())
            raise MalformedRequest(f"inputs differ in their number of rows: {sizes}")
        return feeds, rows.pop()

    def _array(self, tensor: Tensor) -> Array:
        info = self._inputs[tensor.name]
        if tensor.datatype != info.datatype:
            raise malformed(tensor.name, f"datatype is {tensor.datatype}, the model takes {info.datatype}")
        if not info.fits(tensor.shape):
            raise malformed(tensor.name, f"shape is {list(tensor.shape)}, the model takes {list(info.shape)}")
        return tensor.strings() if tensor.datatype == "BYTES" else tensor.data

    def _refuse_names(self, unknown: set[str], missing: set[str]) -> None:
        if unknown:
            raise malformed(min(unknown), f"the model has no such input; it has {', '.join(self._inputs)}")
        raise malformed(min(missing), "this input is missing")

    def _wanted(self, request: InferRequest) -> tuple[str, ...]:
        for output in request.outputs:
            if output.name not in self._outputs:
                raise malformed(output.name, f"the model has no such output; it has {', '.join(self._outputs)}")
            # Triton's extension: values instead of classes would be another answer
            if "classification" in output.parameters:
                raise malformed(output.name, "classification is not served")
        return tuple(output.name for output in request.outputs)


def _replay_golden(bundle: Bundle | None, session: Session) -> dict[str, Array] | None:
    """Replay the golden rows of a bundle; returns their vectors."""
    if bundle is None:
        return None
    rows = bundle.golden()
    names = [info.name for info in session.outputs]
    golden.replay(session.run, rows.vectors, rows.outputs, bundle.tolerance(session.provider), names)
    return dict(rows.vectors)


def _described(info: TensorInfo, shape: Sequence[int]) -> dict[str, Any]:
    return {"name": info.name, "datatype": info.datatype, "shape": list(shape)}
