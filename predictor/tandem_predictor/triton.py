"""A bundle as a Triton model repository: ``python -m tandem_predictor.triton BUNDLE OUT``.

    OUT/NAME-DIGEST8/
        config.pbtxt
        1/model.onnx
        1/model.onnx/model.onnx …   instead, where the model keeps weights in files of their own, with these files
        warmup/…                    a golden row, with which Triton warms the model up

Triton batches only tensors that have a dimension beside the rows, and models that declare all their outputs with a free
first dimension. Any other model is declared without batching, so that the tensors on the wire stay the same.

Sources: Triton, ``model_configuration.md`` and ``model_repository.md``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tandem.bundle import DIGEST_VARIABLE, Bundle
from tandem.errors import BundleError
from tandem.manifest import MODEL
from tandem.oip.tensors import Array
from tandem.onnx_files import Graph
from tandem_predictor.session import Session, TensorInfo

_VERSION: Final = "1"
_CONFIG: Final = "config.pbtxt"
_WARMUP: Final = "warmup"
_TENSORRT: Final = 'optimization { execution_accelerators { gpu_execution_accelerator [ { name: "tensorrt" } ] } }'


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
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


def write_model_repository(bundle: Bundle, out_dir: Path, settings: Settings | None = None) -> Path:
    """Write a bundle's model into a Triton model repository; returns the model's directory, which is written anew.

    Args:
        bundle: The bundle.
        out_dir: The model repository; made if need be.
        settings: How Triton should run it.

    Raises:
        BundleError: ONNX Runtime cannot load the model, or the repository would be written into the bundle.
    """
    graph = bundle.graph()
    session = Session(graph)
    settings = settings or Settings()
    target = out_dir / bundle.hop_name
    if target.resolve() == bundle.path.resolve():
        raise BundleError(f"{out_dir} has the bundle itself: the model repository must be another directory")
    for own in (_VERSION, _WARMUP):
        shutil.rmtree(target / own, ignore_errors=True)
    _write_model(graph, target / _VERSION)
    first = {name: tensor[:1] for name, tensor in bundle.golden().vectors.items()}
    if settings.warmup:
        _write_row(target, session.inputs, first)
    signed = {spec.name: spec.shape for spec in bundle.signature.outputs}
    # a graph may leave open how many dimensions an output has
    outputs = [replace(info, shape=info.shape or signed.get(info.name, ())) for info in session.outputs]
    text = configuration(bundle.hop_name, session.inputs, outputs, settings, row=first)
    (target / _CONFIG).write_text(text)
    return target


def _write_model(graph: Graph, directory: Path) -> None:
    target = directory / MODEL if graph.weights else directory
    target.mkdir(parents=True)
    for name, content in {**graph.weights, MODEL: graph.content}.items():
        (target / name).write_bytes(content)


def _write_row(target: Path, inputs: Sequence[TensorInfo], row: Mapping[str, Array]) -> None:
    (target / _WARMUP).mkdir()
    for index, info in enumerate(inputs):
        (target / _WARMUP / _file(index)).write_bytes(_wire(row[info.name]))


def _wire(array: Array) -> bytes:
    """A tensor as it is on the wire: little-endian numbers, strings after their lengths."""
    if array.dtype != object:
        return array.astype(array.dtype.newbyteorder("<")).tobytes()
    texts = [str(text).encode() for text in array.ravel().tolist()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def configuration(
    name: str,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    settings: Settings,
    *,
    row: Mapping[str, Array] | None = None,
) -> str:
    """The text of a ``config.pbtxt``.

    Args:
        name: Name of the model.
        inputs: Its inputs.
        outputs: Its outputs.
        settings: How Triton should run it.
        row: One row that the model takes, for the warm-up, as in the files beside the configuration; zeros without it.
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


def _dynamic_batching(settings: Settings) -> str:
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
        data = f'input_data_file: "{_file(index)}"' if row else "zero_data: true"
        samples.append(
            f'inputs {{ key: "{info.name}" value {{ data_type: {_type(info)} dims: {_dims(shape)} {data} }} }}'
        )
    return f'model_warmup {{ name: "rows-{size or 1}" batch_size: {size} {" ".join(samples)} }}'


def _file(index: int) -> str:
    return f"input-{index}"


def _type(info: TensorInfo) -> str:
    return "TYPE_STRING" if info.datatype == "BYTES" else f"TYPE_{info.datatype}"


def _dims(sizes: Iterable[int]) -> str:
    return f"[ {', '.join(map(str, sizes))} ]"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="tandem_predictor.triton", description="A bundle as a Triton model repository"
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--max_batch_size", type=int, default=64)
    parser.add_argument("--preferred_batch_sizes", type=int, nargs="*", default=())
    parser.add_argument("--max_queue_delay_us", type=int, default=0)
    parser.add_argument("--instance_count", type=int, default=1)
    parser.add_argument("--kind", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--tensorrt", action="store_true")
    parser.add_argument("--no_warmup", dest="warmup", action="store_false")
    values = vars(parser.parse_args(argv))
    path, out = values.pop("bundle"), values.pop("out")
    try:
        settings = Settings(**values | {"preferred_batch_sizes": tuple(values["preferred_batch_sizes"])})
        bundle = Bundle.open(path, digest=os.environ.get(DIGEST_VARIABLE) or None)
        print(write_model_repository(bundle, out, settings))
    except (BundleError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
