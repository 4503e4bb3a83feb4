"""What ``tandem check`` says of ``[tool.tandem]``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tandem.package import ModelPackage
from tandem_cli.settings import check_settings

MODEL = """
from tandem import Feature, FeatureView, Model, Prediction

load = FeatureView("load", keys=["id"], features=[Feature("ctl", default=1.0), Feature("runs", "int64", default=0)])
model = Model("small", serving_keys={"id": "string"}, views=[load], inputs=["ctl", "runs"], prediction=Prediction("y"))
"""


def package(path: Path, **settings: Any) -> ModelPackage:
    (path / "small.py").write_text(MODEL)
    return ModelPackage(path, "small:model", {"model": "small:model", **settings})


def table(path: Path, **columns: pa.DataType | None) -> str:
    """A Parquet file without rows, with columns of these types beside those of a good one."""
    good: dict[str, pa.DataType] = {
        "id": pa.string(),
        "ctl": pa.float64(),
        "runs": pa.int64(),
        "event_time": pa.timestamp("us"),
    }
    types: dict[str, pa.DataType | None] = {**good, **columns}
    schema = pa.schema([(name, type_) for name, type_ in types.items() if type_ is not None])
    pq.write_table(schema.empty_table(), path / "load.parquet")
    return "load.parquet"


def findings(package: ModelPackage, status: str = "failed") -> dict[str, str]:
    return {finding.name: finding.message for finding in check_settings(package) if finding.status == status}


def test_a_good_package_has_none(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    good = package(
        tmp_path,
        train="train.py",
        bundles="bundles",
        features={"load": table(tmp_path)},
        weights={"v1": 90, "v2": 10},
        rollout={"analysis": {"metrics": [{"type": "errors"}]}},
    )
    assert findings(good) == findings(good, "warning") == {}
    assert findings(good, "ok").keys() == {"features.load", "weights", "rollout"}


@pytest.mark.parametrize(
    ("settings", "name", "message"),
    [
        ({"buldes": "b"}, "buldes", "no setting 'buldes'; did you mean 'bundles'?"),
        ({"zzz": 1}, "zzz", "there are model, train, bundles"),
        ({"train": "fit.py"}, "train", "fit.py does not exist"),
        ({"train": 5}, "train", 'such as train = "train.py"'),
        ({"bundles": "small.py"}, "bundles", "must be a directory"),
        ({"features": "x"}, "features", "must give a file to each view"),
        ({"features": {"laod": "x.parquet"}}, "features.laod", "no feature view 'laod'; did you mean 'load'?"),
        ({"features": {"load": "small.py"}}, "features.load", "cannot be read as Parquet"),
        ({"weights": {"v1": "90"}}, "weights", "must give a whole number"),
        ({"weights": {"v1": -1}}, "weights", "0 or more"),
        ({"weights": {"v1": 0}}, "weights", "weight above 0"),
        ({"rollout": {"anlysis": {}}}, "rollout", "not anlysis; did you mean 'analysis'?"),
        (
            {"rollout": {"analysis": {"intervall": "2s"}}},
            "rollout",
            "spec.analysis: unknown field 'intervall'; did you mean 'interval'?",
        ),
        ({"rollout": {"strategy": {"canary": {"bake": 10}}}}, "rollout", "must be a duration"),
    ],
)
def test_what_a_later_command_would_stumble_over(
    tmp_path: Path, settings: dict[str, Any], name: str, message: str
) -> None:
    failures = findings(package(tmp_path, **settings))
    assert message in failures[name]
    assert len(failures) == 1


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"ctl": None}, "ctl"),
        ({"runs": pa.string()}, "runs"),
        ({"event_time": None}, "event_time"),
        ({"id": None}, "id"),
    ],
)
def test_columns_of_tables(tmp_path: Path, columns: dict[str, Any], column: str) -> None:
    failures = findings(package(tmp_path, features={"load": table(tmp_path, **columns)}))
    assert "load.parquet" in failures["features.load"] and column in failures["features.load"]


def test_what_may_come_later_is_a_warning(tmp_path: Path) -> None:
    assert (
        "does not exist yet" in findings(package(tmp_path, features={"load": "no.parquet"}), "warning")["features.load"]
    )
    assert "has no table here" in findings(package(tmp_path), "warning")["features.load"]


def test_without_a_model_the_rest_is_checked(tmp_path: Path) -> None:
    broken = ModelPackage(tmp_path, "nowhere:model", {"model": "nowhere:model", "wieghts": {}, "features": {"a": "b"}})
    assert findings(broken).keys() == {"wieghts"}


def test_no_row_of_a_table_is_read(tmp_path: Path) -> None:
    name = table(tmp_path)
    schema = pq.read_schema(tmp_path / name)
    column = {"id": ["a"], "ctl": [1.0], "runs": [1], "event_time": [0]}
    pq.write_table(pa.table(column, schema=schema), tmp_path / name)
    data = bytearray((tmp_path / name).read_bytes())
    footer = int.from_bytes(data[-8:-4], "little") + 8
    data[4:-footer] = bytes(len(data) - footer - 4)  # what is not the footer is spoilt
    (tmp_path / name).write_bytes(data)
    assert findings(package(tmp_path, features={"load": name})) == {}
