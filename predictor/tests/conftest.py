from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from onnx import TensorProto

from tandem.bundle import Bundle
from tandem_predictor.admission import Admission
from tandem_predictor.app import PredictorApp
from tandem_predictor.config import PredictorConfig
from tandem_predictor.metrics import PredictorMetrics
from tandem_predictor.repository import Repository

from . import graphs

TOKEN = {"authorization": "Bearer secret"}


@dataclass
class Models:
    """A directory with a model of each kind."""

    path: Path
    bundle: Bundle


@dataclass
class Parts:
    """A predictor without its sockets."""

    repository: Repository
    admission: Admission
    metrics: PredictorMetrics
    app: PredictorApp


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    path = tmp_path_factory.mktemp("models")
    graphs.linear(path / "linear" / "model.onnx")
    graphs.linear(path / "fixed" / "model.onnx", rows=2)
    graphs.lookup(path / "lookup" / "model.onnx")
    graphs.identity(path / "half" / "model.onnx", TensorProto.FLOAT16)
    graphs.identity(path / "text" / "3" / "model.onnx", TensorProto.STRING)
    return Models(path, graphs.linear_bundle(path))


@pytest_asyncio.fixture
async def parts(models: Models) -> Parts:
    metrics = PredictorMetrics()
    config = PredictorConfig(model_repository=models.path, repository_token="secret", max_batch_size=8)
    repository = Repository(config, metrics)
    await repository.start()
    admission = Admission(0, metrics)
    return Parts(repository, admission, metrics, PredictorApp(repository, admission, metrics, max_body_bytes=4096))


@pytest_asyncio.fixture
async def client(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(parts.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://predictor", headers=TOKEN) as client:
        yield client
