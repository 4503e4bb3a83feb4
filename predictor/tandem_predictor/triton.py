"""A bundle as a Triton model repository: ``python -m tandem_predictor.triton BUNDLE OUT``.

    OUT/NAME-DIGEST8/           one more for the simpler model of the bundle, where it has one
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
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tandem.bundle import DIGEST_VARIABLE, Bundle
from tandem.errors import BundleError
from tandem.manifest import MODEL
from tandem.oip.tensors import Array
from tandem.onnx_files import Graph
from tandem_predictor.session import Session, TensorInfo
from tandem_predictor.triton_config import TritonSettings, build_config, warmup_file

_VERSION: Final = "1"
_CONFIG: Final = "config.pbtxt"
_WARMUP: Final = "warmup"


def write_model_repository(bundle: Bundle, out_dir: Path, settings: TritonSettings | None = None) -> Path:
    """Write a bundle's model into a Triton model repository; returns the model's directory, which is written anew.

    Args:
        bundle: The bundle.
        out_dir: The model repository; made if need be.
        settings: How Triton should run it.

    Raises:
        BundleError: ONNX Runtime cannot load the model, or the repository would be written into the bundle.
    """
    graph = bundle.graph()
    # loaded here once, so that a model that ONNX Runtime refuses is not left to Triton
    session = Session(graph)
    settings = settings or TritonSettings()
    target = out_dir / bundle.wire_name
    if target.resolve() == bundle.path.resolve():
        raise BundleError(f"{out_dir} holds the bundle itself: the model repository must be another directory")
    for own in (_VERSION, _WARMUP):
        shutil.rmtree(target / own, ignore_errors=True)
    _write_model(graph, target / _VERSION)
    first = {name: tensor[:1] for name, tensor in bundle.golden().vectors.items()}
    if settings.warmup:
        _write_row(target, session.inputs, first)
    signed = {spec.name: spec.shape for spec in bundle.signature.outputs}
    # a graph may leave open how many dimensions an output has
    outputs = [replace(info, shape=info.shape or signed.get(info.name, ())) for info in session.outputs]
    text = build_config(bundle.wire_name, session.inputs, outputs, settings, row=first)
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
        (target / _WARMUP / warmup_file(index)).write_bytes(_wire(row[info.name]))


def _wire(array: Array) -> bytes:
    """A tensor as it is on the wire: little-endian numbers, strings after their lengths."""
    if array.dtype != object:
        return array.astype(array.dtype.newbyteorder("<")).tobytes()
    texts = [str(text).encode() for text in array.ravel().tolist()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _command_line() -> argparse.ArgumentParser:
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
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    values = vars(_command_line().parse_args(argv))
    path, out = values.pop("bundle"), values.pop("out")
    try:
        settings = TritonSettings(**values | {"preferred_batch_sizes": tuple(values["preferred_batch_sizes"])})
        bundle = Bundle.open(path, digest=os.environ.get(DIGEST_VARIABLE) or None)
        for part in filter(None, (bundle, bundle.simpler)):
            print(write_model_repository(part, out, settings))
    except (BundleError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
