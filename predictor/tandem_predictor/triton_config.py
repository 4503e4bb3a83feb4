"""The build_config of a model for Triton, ``config.pbtxt``.

Triton batches only tensors that have a dimension beside the rows, and models that declare all their outputs with a free
first dimension. Any other model is declared without batching, so that the tensors on the wire stay the same.

Source: Triton, ``model_configuration.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tandem.oip.tensors import Array
from tandem_predictor.session import TensorInfo

_TENSORRT: Final = 'optimization { execution_accelerators { gpu_execution_accelerator [ { name: "tensorrt" } ] } }'


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonSettings:
    """How Triton should run a model.

    Attributes:
        max_batch_size: Most rows in a batch.
        preferred_batch_sizes: Sizes that the dynamic batcher aims for; empty leaves it to Triton, best for most models.
        max_queue_delay_us: Microseconds that a request may wait for others.
        instance_count: Instances of the model, on each device.
        kind: ``cpu`` or ``gpu``.
        tensorrt: Let ONNX Runtime use TensorRT; on GPU only.
        warmup: Have Triton run a golden row and a full batch of it before it calls the model ready.
    """

    max_batch_size: int = 64
    preferred_batch_sizes: tuple[int, ...] = ()
    max_queue_delay_us: int = 0
    instance_count: int = 1
    kind: str = "cpu"
    tensorrt: bool = False
    warmup: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("cpu", "gpu"):
            raise ValueError(f"kind must be cpu or gpu, not {self.kind!r}")
        if self.tensorrt and self.kind != "gpu":
            raise ValueError("TensorRT runs on GPU only")


def build_config(
    name: str,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    settings: TritonSettings,
    *,
    row: Mapping[str, Array] | None = None,
) -> str:
    """The text of a ``config.pbtxt``.

    Args:
        name: Name of the model.
        inputs: Its inputs.
        outputs: Its outputs.
        settings: How Triton should run it.
        row: One row that the model takes, for the warm-up, as in the files beside the build_config; zeros without it.
    """
    batched = all(info.shape[:1] == (-1,) and len(info.shape) > 1 for info in (*inputs, *outputs))
    blocks = [
        f'name: "{name}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {settings.max_batch_size if batched else 0}",
        *(f"input {_tensor(info, batched)}" for info in inputs),
        *(f"output {_tensor(info, batched)}" for info in outputs),
        f"instance_group {{ count: {settings.instance_count} kind: KIND_{settings.kind.upper()} }}",
    ]
    if batched:
        blocks.append(_dynamic_batching(settings))
    if settings.tensorrt:
        blocks.append(_TENSORRT)
    if settings.warmup:
        sizes = sorted({1, settings.max_batch_size}) if batched else [0]
        blocks += [_warmup(inputs, size, batched, row) for size in sizes]
    return "\n".join(blocks) + "\n"


def _tensor(info: TensorInfo, batched: bool) -> str:
    return f'{{ name: "{info.name}" data_type: {_type(info)} dims: {_dims(_dimensions(info, batched))} }}'


def _dynamic_batching(settings: TritonSettings) -> str:
    preferred = (
        f"preferred_batch_size: {_dims(settings.preferred_batch_sizes)} " if settings.preferred_batch_sizes else ""
    )
    return f"dynamic_batching {{ {preferred}max_queue_delay_microseconds: {settings.max_queue_delay_us} }}"


def _dimensions(info: TensorInfo, batched: bool) -> tuple[int, ...]:
    """Dimensions as Triton declares them: without the rows if it batches, else with any number of them.

    What the model declares does not count: converters write ``[1]`` for any number of labels, and Triton takes any size
    for a declared one if it is -1 here.
    """
    return info.shape[1:] if batched else (-1, *info.shape[1:])


def _warmup(inputs: Iterable[TensorInfo], size: int, batched: bool, row: Mapping[str, Array] | None) -> str:
    samples = []
    for index, info in enumerate(inputs):
        # of a batch, Triton makes as many requests with this one row
        shape = row[info.name].shape[batched:] if row else [max(size, 1) for size in info.shape[batched:]]
        data = f'input_data_file: "{warmup_file(index)}"' if row else "zero_data: true"
        samples.append(
            f'inputs {{ key: "{info.name}" value {{ data_type: {_type(info)} dims: {_dims(shape)} {data} }} }}'
        )
    return f'model_warmup {{ name: "rows-{size or 1}" batch_size: {size} {" ".join(samples)} }}'


def warmup_file(index: int) -> str:
    """Name of the file with the warm-up values of an input, by its index."""
    return f"input-{index}"


def _type(info: TensorInfo) -> str:
    return "TYPE_STRING" if info.datatype == "BYTES" else f"TYPE_{info.datatype}"


def _dims(sizes: Iterable[int]) -> str:
    return f"[ {', '.join(map(str, sizes))} ]"
