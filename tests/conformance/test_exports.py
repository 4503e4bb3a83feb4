"""Whatever people export is served alike by our predictor and by a real Triton, as the transformer asks for it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tandem import Bundle
from tandem.comparison import check_outputs
from tandem_predictor.triton import write_model_repository
from tandem_transformer.config import TransformerConfig
from tandem_transformer.predictors import connect

from . import triton_repository
from .conftest import _pytriton
from .exports import EXPORTS
from .servers import Sample, Server, free_ports, running


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    directory = tmp_path_factory.mktemp("exports")
    return {name: export.write(name, directory) for name, export in EXPORTS.items()}


@contextmanager
def predictor(bundles: dict[str, Bundle], directory: Path) -> Iterator[Server]:
    http, rpc = free_ports(2)
    parent = next(iter(bundles.values())).path.parent
    flags = [f"--model_dir={parent}", "--host=127.0.0.1", f"--http_port={http}", f"--grpc_port={rpc}"]
    samples = tuple(Sample(bundle.wire_name, (), ()) for bundle in bundles.values())
    server = Server(f"http://127.0.0.1:{http}", f"127.0.0.1:{rpc}", samples)
    with running([sys.executable, "-m", "tandem_predictor", *flags], server):
        yield server


@contextmanager
def triton(bundles: dict[str, Bundle], directory: Path) -> Iterator[Server]:
    if sys.version_info[:2] != (3, 11):
        pytest.skip("real Triton's Python backend runs our ONNX Runtime, which takes Python 3.11")
    environment = _pytriton().parents[1]
    for bundle in bundles.values():
        write_model_repository(bundle, directory / "repository")
    with triton_repository.serving(directory / "repository", environment) as server:
        yield server


@pytest.fixture(scope="session", params=[predictor, triton], ids=["predictor", "triton"])
def served(
    request: pytest.FixtureRequest, bundles: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with request.param(bundles, tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.mark.parametrize("protocol", ["v2", "grpc-v2"])
@pytest.mark.parametrize("name", EXPORTS)
async def test_golden_rows_through_the_hop(
    name: str, protocol: str, served: Server, bundles: dict[str, Bundle]
) -> None:
    bundle = bundles[name]
    golden = bundle.golden()
    host = served.grpc_address if protocol == "grpc-v2" else served.base_url.removeprefix("http://")
    hop = connect(bundle, TransformerConfig(model_dir=bundle.path, predictor_protocol=protocol, predictor_host=(host,)))
    rows = len(next(iter(golden.vectors.values())))
    parts = [slice(0, rows), *(slice(row, row + 1) for row in range(8)), slice(3, 10)]
    calls = [hop.infer({key: tensor[part] for key, tensor in golden.vectors.items()}) for part in parts]
    for part, answer in zip(parts, await asyncio.gather(*calls), strict=True):
        expected = {key: tensor[part] for key, tensor in golden.outputs.items()}
        check_outputs(answer, expected, bundle.tolerance("CPUExecutionProvider"))
    await hop.close()
