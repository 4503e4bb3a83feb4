"""Predictions that are kept, in whatever way, answer for the bundle that made them and for no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem import Bundle
from tandem.inputs import Tensors
from tandem.stores.memory import MemoryStore
from tandem_transformer.refresh import Refresher
from tandem_transformer.service import Service

from . import world
from .parts import make_service
from .test_service import ask, minutes
from .world import good_row

KEPT: dict[str, Any] = {"prediction_cache_bytes": 2**20, "prediction_cache_store": "memory://shared"}
PROCESSES = 2
CHANGES: dict[str, tuple[tuple[str, str], ...]] = {
    "own": (),
    "version": (),
    "graph": (),
    "model": (('"parcels",\n    serving_keys', '"parcels-too",\n    serving_keys'),),
    "contract": (("le=1000", "le=2000"),),
}
"""What each bundle has in another way than the first; their vectors are equal."""


class Marked:
    """A predictor whose predictions tell which it is; keeps how many rows it was asked."""

    def __init__(self, bundle: Bundle, mark: float) -> None:
        self._output = bundle.signature.outputs[0].name
        self._mark = mark
        self.rows = 0

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        rows = len(next(iter(tensors.values())))
        self.rows += rows
        return {self._output: np.full((rows, 1), self._mark, np.float32)}

    async def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    written = []
    for name, changes in CHANGES.items():
        directory = tmp_path_factory.mktemp(name)
        package = world.package_with(directory / "package", world.AHEAD, *changes)
        version, scale = "v2" if name == "version" else "v1", 2.0 if name == "graph" else 1.0
        written.append(world.write(directory, package=package, version=version, scale=scale))
    assert len({bundle.digest for bundle in written}) == len(CHANGES)
    return written


@pytest.mark.parametrize("index", range(1, len(CHANGES)), ids=list(CHANGES)[1:])
def test_the_vectors_of_the_bundles_are_equal(bundles: list[Bundle], index: int) -> None:
    """Otherwise the next test would show nothing about vectors."""
    own, other_vector = (world.offline(bundle, [good_row()]).vectors["x"] for bundle in (bundles[0], bundles[index]))
    np.testing.assert_array_equal(own, other_vector)


Step = tuple[int, int, int, bool]
"""Index of the bundle, process, parts of the parcel, and whether the prediction is written ahead first."""

steps = st.lists(
    st.tuples(
        st.integers(0, len(CHANGES) - 1),
        st.integers(0, PROCESSES - 1),
        st.integers(1, 2),
        st.sampled_from([False, False, True]),
    ),
    min_size=2,
    max_size=16,
)


async def _refresh(service: Service, row: dict[str, Any]) -> None:
    assert service.backends.precomputed is not None
    refresher = Refresher(service, service.backends.precomputed)
    reply = await refresher.refresh(msgspec.json.encode({"instances": [row]}))
    assert reply["written"] == {"features": 0, "predictions": 1}


async def _take_steps(bundles: Sequence[Bundle], steps: Sequence[Step], store: MemoryStore) -> None:
    predictors = [Marked(bundle, 100.0 + at) for at, bundle in enumerate(bundles)]
    services = {
        (bundle_index, process): make_service(
            bundles[bundle_index], store=store, predictor=predictors[bundle_index], **KEPT
        )
        for bundle_index, process in {step[:2] for step in steps}
    }
    for bundle_index, process, parts, ahead in steps:
        service, row = services[bundle_index, process], good_row(parts=parts)
        if ahead:
            await _refresh(service, row)
        assert minutes(await ask(service, row)) == [100.0 + bundle_index]
        shared = service.backends._shared
        assert shared is not None
        await asyncio.gather(*shared._writes)
    # each was predicted once, so all others were kept
    for bundle_index, predictor in enumerate(predictors):
        assert predictor.rows == len({parts for at, _, parts, _ in steps if at == bundle_index})
    for service in services.values():
        await service.close()


@settings(max_examples=40, deadline=None)
@given(steps)
def test_an_answer_is_that_of_the_bundle_that_is_asked(bundles: list[Bundle], steps: list[Step]) -> None:
    shared, features = MemoryStore(), world.memory_store()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tandem_transformer.backends.open_store", lambda url: shared)
        asyncio.run(_take_steps(bundles, steps, features))
