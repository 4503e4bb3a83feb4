"""The proof that a transformer gives of its pair."""

from __future__ import annotations

from math import inf

import pytest

from tandem import Bundle
from tandem.errors import Unavailable
from tandem.inputs import Tensors
from tandem_transformer.app import TransformerApp
from tandem_transformer.config import parse
from tandem_transformer.predictors.inprocess import InProcessPredictor

from .client import Client
from .parts import make_service


class Drifted(InProcessPredictor):
    """A predictor whose answers are a little off."""

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        return {name: tensor + 0.01 for name, tensor in (await super().infer(tensors, deadline)).items()}


class Gone(InProcessPredictor):
    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        raise Unavailable("nobody is there", code="predictor_unavailable")


async def test_a_pair_proves_itself(client: Client) -> None:
    reply = await client.get("/tandem/verification")
    bundle = client.service.bundle
    body = reply.json()
    assert reply.status_code == 200
    assert (body["name"], body["version"], body["digest"]) == (bundle.name, bundle.version, bundle.digest)
    assert body["rows"] > 0
    assert body["contract"]["model"] == bundle.contract.model


@pytest.mark.parametrize(
    ("predictor", "status", "code", "says"),
    [(Drifted, 500, "proof_failed", "golden replay: row"), (Gone, 503, "predictor_unavailable", "nobody is there")],
)
async def test_a_pair_that_is_not_right_says_why(
    predictor: type[InProcessPredictor], status: int, code: str, says: str, bundle: Bundle
) -> None:
    service = make_service(bundle, predictor=predictor(bundle))
    async with Client(TransformerApp(service), service) as client:
        reply = await client.get("/tandem/verification")
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert says in reply.json()["error"]


def test_the_store_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_STORE", "redis://:secret@store:6379/0")
    assert parse(["--predictor_host", "p"]).store == "redis://:secret@store:6379/0"
    assert parse(["--predictor_host", "p", "--store", "memory://"]).store == "memory://"
