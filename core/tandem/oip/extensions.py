"""Configuration and statistics of models, in the form of Triton's extensions, which load generators read.

Sources: Triton's ``extension_model_configuration.md`` and ``extension_statistics.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

EXTENSIONS: Final = ("binary_tensor_data", "model_configuration", "statistics")
"""Names of the extensions that every server of Tandem supports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What a model has done since its server started. All times are in seconds.

    Attributes:
        rows: Rows that were predicted.
        executions: Batches in which they were.
        answered: Requests that were answered.
        answered_s: From their arrival to their answer, in all.
        refused: Requests that were answered with an error.
        refused_s: From their arrival to their answer, in all.
        queue_s: For which requests waited for their batch, in all.
        input_s: Work on batches before the model, in all.
        infer_s: Runs of the model, in all.
        output_s: Work on batches after the model, in all.
        last: When the last request was answered, since the epoch; 0 for never.
    """

    rows: int = 0
    executions: int = 0
    answered: int = 0
    answered_s: float = 0.0
    refused: int = 0
    refused_s: float = 0.0
    queue_s: float = 0.0
    input_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0
    last: float = 0.0

    def as_dict(self, name: str, version: str) -> dict[str, Any]:
        """An entry of the answer to a statistics request.

        Triton's tools read versions as numbers, so a name that is none becomes 1. They divide each time by the number
        of requests, so a batch counts once for each of its requests, of which all batches are taken to have the same
        number.
        """
        batch_size = self.answered / self.executions if self.executions else 0.0
        return {
            "name": name,
            "version": version if version.isdecimal() else "1",
            "last_inference": round(self.last * 1e3),
            "inference_count": self.rows,
            "execution_count": self.executions,
            "inference_stats": {
                "success": _duration(self.answered, self.answered_s),
                "fail": _duration(self.refused, self.refused_s),
                "queue": _duration(self.answered, self.queue_s),
                "compute_input": _duration(self.answered, self.input_s * batch_size),
                "compute_infer": _duration(self.answered, self.infer_s * batch_size),
                "compute_output": _duration(self.answered, self.output_s * batch_size),
                "cache_hit": _duration(0, 0.0),
                "cache_miss": _duration(0, 0.0),
            },
            "batch_stats": [],
        }


def model_config(
    metadata: Mapping[str, Any],
    *,
    backend: str,
    max_batch_size: int,
    optional: Iterable[str] = (),
    dynamic_batching: Mapping[str, int] | None = None,
    instances: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Answer to a configuration request.

    Args:
        metadata: Answer to the metadata request of the same model.
        backend: Triton's name for what runs the model, or a name that it does not know.
        max_batch_size: Most rows of a request; 0 where the first dimension is not a batch.
        optional: Inputs that may be left out.
        dynamic_batching: How requests are merged; None if they are not.
        instances: What runs the model.
    """
    left_out = frozenset(optional)
    skipped = 1 if max_batch_size else 0
    config = {
        "name": metadata["name"],
        "platform": metadata["platform"],
        "backend": backend,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": max_batch_size,
        "input": [
            {**_tensor(tensor, skipped), "optional": tensor["name"] in left_out} for tensor in metadata["inputs"]
        ],
        "output": [_tensor(tensor, skipped) for tensor in metadata["outputs"]],
        "instance_group": [dict(instances)] if instances else [],
    }
    return config if dynamic_batching is None else {**config, "dynamic_batching": dict(dynamic_batching)}


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": max(0, round(seconds * 1e9))}


def _tensor(described: Mapping[str, Any], skipped: int) -> dict[str, Any]:
    datatype = described["datatype"]
    return {
        "name": described["name"],
        "data_type": "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}",
        # Triton has no tensor without dimensions
        "dims": list(described["shape"][skipped:]) or [1],
    }
