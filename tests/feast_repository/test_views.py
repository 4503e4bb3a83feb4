"""Feature views of a Feast repository as Python source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tandem import DefinitionError, FeatureView
from tandem.feast.views import write_views
from tandem.stores.feast import FeastStore

SOURCE = '''"""Feature views of the Feast project rides."""

from tandem import Feature, FeatureView

driver_stats = FeatureView(
    "driver_stats",
    keys=["driver_id"],
    max_age="1d",
    description="What a driver did lately.",
    features=[
        Feature("active", "bool"),
        Feature("born", "timestamp"),
        Feature("level", "int64"),
        Feature("name", "string"),
        Feature("rate", "float64"),
        Feature("taste", "float64[3]"),
        Feature("trips", "int64"),
        # left out: photo is Bytes
    ],
)

driver_other = FeatureView(
    "driver_other",
    keys=["driver_id"],
    max_age="36h",
    features=[
        Feature("rate", "float64"),
    ],
)
'''


def test_source_of_views(repository: Path) -> None:
    assert write_views(repository, ["driver_stats", "driver_other"]) == SOURCE


def test_the_source_declares_what_the_store_reads(repository: Path) -> None:
    names = ["driver_stats", "driver_city", "driver_other"]
    module: dict[str, Any] = {}
    exec(write_views(repository, names), module)
    views = [module[name] for name in names]
    assert all(isinstance(view, FeatureView) for view in views)
    assert sorted(views[1].keys) == ["city_id", "driver_id"]
    assert views[1].max_age is None
    FeastStore(repository, views)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("per_km", "on-demand"),
        ("driver-dashed", "'driver-dashed': a name must be a Python identifier"),
        ("nothing", "has no feature view"),
    ],
)
def test_a_view_that_cannot_be_declared(repository: Path, name: str, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        write_views(repository, [name])


def test_the_command(repository: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from tandem_cli.__main__ import app

    result = CliRunner().invoke(app, ["import", "feast", str(repository), "driver_stats", "driver_other"])
    assert (result.exit_code, result.stdout) == (0, SOURCE)
    file = tmp_path / "views.py"
    result = CliRunner().invoke(app, ["import", "feast", str(repository), "driver_other", "-o", str(file)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "driver_other = FeatureView(" in file.read_text()
    result = CliRunner().invoke(app, ["import", "feast", str(repository), "per_km"])
    assert result.exit_code == 1
    assert "on-demand feature view" in result.stderr
