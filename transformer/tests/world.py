"""A world for the parcels model: its bundle, what is stored about whom, and what clients ask."""

from __future__ import annotations

import asyncio
import functools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tandem import Bundle, Inputs, fit, matrix, write_bundle
from tandem.dtypes import Columns
from tandem.inputs import Tensors
from tandem.lookup import LookupPlan
from tandem.onnx_model import OnnxModel
from tandem.package import ModelPackage
from tandem.packed_rows import RowLayout
from tandem.rows import RowReader
from tandem.sampling import random_rows
from tandem.stores import open_store
from tandem.stores.memory import MemoryStore

PACKAGE = Path(__file__).with_name("parcels")
NOW = np.datetime64("2026-05-01T08:00:00", "us")
CUSTOMERS = 400
DEPOTS = 40
POSTPROCESS_STATE = {"promised": {"margin": 10.0}, "slow": {"limit": 240.0}}
#: A depot whose speed is zero, so that the prediction for it is infinite.
STANDING_DEPOT = 1000
#: A depot whose values are older than the view's ``max_age``.
STALE_DEPOT = 1001
#: A depot so slow that a model-dependent transform raises.
STUCK_DEPOT = 1002
#: A depot so slow that a post-processing step raises.
CRAWLING_DEPOT = 1003
#: With so many parts the model of :func:`write`, if it is picky, makes ONNX Runtime fail.
UNKNOWN_PARTS = 20


@functools.cache
def model() -> Any:
    return ModelPackage.read(PACKAGE).load()


def good_row(**changes: Any) -> dict[str, Any]:
    """A row that is answered from stored values only; without the keys that are changed to ``...``."""
    row = {
        "customer_id": "c1",
        "depot_id": 2,
        "weight_kg": 2.5,
        "fragile": False,
        "asked_at": "2026-05-01T08:00:00Z",
        "pickup_at": "2026-05-01T10:00:00+02:00",
        "postcode": "de-12",
        "parts": 2,
        "tariff": "night",
        "depth_m": 0.5,
    }
    return {name: value for name, value in (row | changes).items() if value is not ...}


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows over the contract's whole range, about customers known and unknown, at depots that are known."""
    rng = np.random.default_rng(seed)
    sample_rows = random_rows(model(), count, rng)
    for row in sample_rows:
        # one customer in ten is unknown
        row["customer_id"] = f"c{int(rng.integers(CUSTOMERS * 10 // 9))}"
        row["depot_id"] = int(rng.integers(DEPOTS))
        row["asked_at"] = f"{NOW - rng.integers(0, 5 * 86_400 * 10**6).astype('m8[us]')}Z"
    return sample_rows


def stored(seed: int = 0, now: np.datetime64 = NOW) -> list[tuple[bytes, bytes]]:
    """Packed rows of all views, as of ``now``: some values null, some too old for their view."""
    rng = np.random.default_rng(seed)
    customers = np.array([f"c{index}" for index in range(CUSTOMERS)], object)
    depots = np.array([*range(DEPOTS), STANDING_DEPOT, STALE_DEPOT, STUCK_DEPOT, CRAWLING_DEPOT])
    speeds = rng.uniform(10, 60, len(depots))
    speeds[DEPOTS] = 0.0
    speeds[DEPOTS + 2 :] = 1e-20, 1e-12
    pairs = np.divmod(np.arange(0, CUSTOMERS * DEPOTS, 3), DEPOTS)
    columns = {
        "customer": {
            "rating": rng.uniform(1, 5, CUSTOMERS),
            "orders": rng.integers(0, 500, CUSTOMERS),
            "vip": rng.random(CUSTOMERS) < 0.2,
            "segment": rng.choice(["a", "b", "ç"], CUSTOMERS).astype(object),
            "since": NOW - rng.integers(0, 10**15, CUSTOMERS).astype("m8[us]"),
        },
        "depot": {"speed": speeds, "lanes": rng.integers(1, 6, len(depots)), "toll": rng.uniform(0, 9, len(depots))},
        "route": {"distance_km": rng.uniform(1, 80, len(pairs[0]))},
    }
    keys = {"customer": [customers], "depot": [depots], "route": [customers[pairs[0]], pairs[1]]}
    ages = {  # in days, beside the five over which questions are asked
        "customer": 3 * rng.random(CUSTOMERS),
        "depot": np.zeros(len(depots)),
        "route": 900 * rng.random(len(pairs[0])),
    }
    ages["customer"][1] = 0.0
    ages["depot"][DEPOTS + 1] = 400.0
    nulls = {
        "customer": {name: rng.random(CUSTOMERS) < 0.1 for name in ("since", "segment", "orders")},
        "depot": {"toll": rng.random(len(depots)) < 0.2},
        "route": {},
    }
    for null in (*nulls["customer"].values(), *nulls["depot"].values()):
        null[:3] = False
    packed = []
    for use in model().views:
        name = use.view.name
        layout = RowLayout(use.view)
        # as old as possible before the earliest question, so that no stored value is of the future
        time = now - np.timedelta64(5, "D") - (ages[name] * 86_400 * 10**6).astype("m8[us]")
        packed += zip(layout.keys(keys[name]), layout.pack(columns[name], time, nulls[name]), strict=True)
    return packed


def fill(url: str) -> None:
    """Write what is stored to a real store."""

    async def put() -> None:
        store = open_store(url)
        await store.put(stored())
        await store.close()

    asyncio.run(put())


def memory_store() -> MemoryStore:
    """What is stored, in this process."""
    store = MemoryStore()
    store._rows.update(stored())
    return store


def offline_inputs(instances: Sequence[dict[str, Any]]) -> Inputs:
    """The rows with their stored values, joined without any server."""
    reader = RowReader(model().contract)
    request = reader.columns(msgspec.convert(instances, list[reader.row_type]))  # type: ignore[name-defined]
    plan = LookupPlan(model().views)
    values = dict(stored())
    views = plan.unpack([values.get(key) for key in plan.keys(request)], len(instances))
    return Inputs(request, views, reader.as_of(request, NOW))


@dataclass
class Offline:
    """What a model makes of rows without any server, all in one batch."""

    vectors: Tensors
    answers: Columns
    degraded: dict[int, dict[str, Any]]


def offline(bundle: Bundle, instances: Sequence[dict[str, Any]]) -> Offline:
    pipeline = bundle.pipeline()
    inputs = offline_inputs(instances)
    if not bundle.model.views:
        inputs = Inputs(inputs.request, (), inputs.as_of)
    features = pipeline.features(inputs)
    assert not features.refused
    vectors = pipeline.tensors(features.columns)
    answers = pipeline.predictions(OnnxModel(bundle.model_path).run(vectors), features.columns)
    return Offline(vectors, answers, features.degraded)


def write(
    parent: Path,
    *,
    version: str = "v1",
    scale: float = 1.0,
    picky: bool = False,
    package: Path = PACKAGE,
    simpler: Bundle | None = None,
) -> Bundle:
    """A bundle around a linear model; a picky one fails on :data:`UNKNOWN_PARTS`."""
    inputs = offline_inputs(rows(300, seed=99))
    if picky:
        inputs = inputs.take(inputs.request["parts"] != UNKNOWN_PARTS)
    own = ModelPackage.read(package).load()
    if not own.views:
        inputs = Inputs(inputs.request, (), inputs.as_of)
    pipeline = fit(own, inputs)
    vectors = matrix(pipeline, inputs)
    weights = (scale * np.linspace(1, 3, vectors.shape[1], dtype=np.float32)).reshape(-1, 1)
    return write_bundle(
        parent,
        package=package,
        version=version,
        pipeline=pipeline,
        onnx=_linear(weights, pipeline.signature.inputs[0].columns.index("parts") if picky else None),
        golden=inputs.take(slice(0, 40)),
        expected=(vectors[:40].astype(np.float64) @ weights + 200)[:, 0],
        postprocess_state=POSTPROCESS_STATE,
        simpler=simpler,
    )


#: Makes the model take predictions computed ahead.
AHEAD = ('as_of="asked_at",', 'as_of="asked_at", precomputed="1h",')


def package_with(directory: Path, *changes: tuple[str, str]) -> Path:
    """A copy of the model package with other text in some places."""
    shutil.copytree(PACKAGE, directory, ignore=shutil.ignore_patterns("__pycache__"))
    module = directory / "parcels" / "__init__.py"
    text = module.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    module.write_text(text)
    return directory


def write_nested(parent: Path, *changes: tuple[str, str]) -> Bundle:
    """A bundle whose views of customers and depots leave rows to a simpler model, which adds up other columns."""
    lean = package_with(parent / "lean", ("views=[customer, depot, route]", "views=[]"), (_INPUTS, _LEAN_INPUTS))
    leaving = package_with(
        parent / "leaving",
        ('max_age="7d", features', 'max_age="7d", fallback="model", features'),
        ('max_age="30d", features', 'max_age="30d", fallback="model", features'),
        *changes,
    )
    simpler = write(parent / "simpler", package=lean, scale=-3.0)
    return write(parent, package=leaving, simpler=simpler)


_INPUTS = """inputs=[standardize("weight_kg"), standardize(hours), standardize(notice_h), standardize(district),
            standardize(surcharge), standardize(customer_days), rating_age_h, "rating", "orders", "vip", "lanes",
            "fragile", "parts", one_hot("segment"), one_hot("tariff")]"""
_LEAN_INPUTS = 'inputs=[standardize("weight_kg"), standardize(district), "fragile", "parts", one_hot("tariff")]'


def _linear(weights: Any, parts: int | None) -> bytes:
    """``y = x @ weights + 200``; fails on values of column ``parts`` that an encoder of categories does not know."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Add", ["xw", "b"], ["y"])]
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([200], np.float32), "b")]
    if parts is not None:
        categories = list(range(1, UNKNOWN_PARTS))
        nodes[-1] = helper.make_node("Add", ["xw", "known"], ["y"])
        nodes[1:1] = [
            helper.make_node("Gather", ["x", "parts"], ["column"], axis=1),
            helper.make_node("Cast", ["column"], ["number"], to=TensorProto.INT64),
            helper.make_node(
                "OneHotEncoder", ["number"], ["code"], domain="ai.onnx.ml", cats_int64s=categories, zeros=0
            ),
            helper.make_node("ReduceMax", ["code"], ["one"], axes=[1, 2], keepdims=0),
            helper.make_node("Unsqueeze", ["one", "last"], ["ones"]),
            helper.make_node("Mul", ["ones", "b"], ["known"]),
        ]
        constants += [
            numpy_helper.from_array(np.array([parts]), "parts"),
            numpy_helper.from_array(np.array([1]), "last"),
        ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(weights)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()  # type: ignore[no-any-return]
