from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tandem.errors import BundleError, MalformedRequest
from tandem_predictor.config import PredictorConfig
from tandem_predictor.metrics import PredictorMetrics
from tandem_predictor.repository import Repository

from . import graphs


async def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model in"):
        await Repository(PredictorConfig(model_dir=tmp_path), PredictorMetrics()).start()


async def test_an_empty_repository_can_be_filled_later(tmp_path: Path) -> None:
    repository = Repository(PredictorConfig(model_repository=tmp_path), PredictorMetrics())
    assert not repository.ready
    states: list[bool] = []
    repository.changed = lambda: states.append(repository.ready)
    await repository.start()
    assert not repository.ready
    graphs.linear(tmp_path / "later" / "model.onnx")
    await repository.load("later")
    assert repository.ready
    assert repository.get("later").version == "1"
    await repository.unload("later")
    assert not repository.ready
    assert (states[0], *states[-2:]) == (False, True, False)


async def test_the_model_that_a_server_is_there_for_cannot_be_unloaded(tmp_path: Path) -> None:
    graphs.linear(tmp_path / "own" / "model.onnx")
    graphs.linear(tmp_path / "others" / "other" / "model.onnx")
    repository = Repository(
        PredictorConfig(model_dir=tmp_path / "own", model_repository=tmp_path / "others"), PredictorMetrics()
    )
    await repository.start()
    with pytest.raises(MalformedRequest, match="model 'own' is of --model_dir"):
        await repository.unload("own")
    await repository.unload("other")
    assert repository.ready
    assert repository.has("own")


async def test_one_refused_model_refuses_the_start(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path)
    bundle.model_path.write_bytes(b"")
    repository = Repository(PredictorConfig(model_repository=tmp_path), PredictorMetrics())
    with pytest.raises(BundleError, match=r"model\.onnx is damaged"):
        await repository.start()
    assert not repository.ready
    (entry,) = await repository.index()
    assert entry["state"] == "UNAVAILABLE"
    assert "damaged" in entry["reason"]


async def test_a_pinned_digest_takes_no_other_bundle(tmp_path: Path) -> None:
    pinned, foreign_bundle = (graphs.linear_bundle(tmp_path / name, name=name) for name in ("first", "second"))
    for digest in (pinned.digest, pinned.digest[:8]):
        repository = Repository(PredictorConfig(model_dir=pinned.path, bundle_digest=digest), PredictorMetrics())
        await repository.start()
        assert repository.has(pinned.wire_name)
        refused = Repository(PredictorConfig(model_dir=foreign_bundle.path, bundle_digest=digest), PredictorMetrics())
        with pytest.raises(BundleError, match=f"is bundle {foreign_bundle.digest[:8]}, not {pinned.digest[:8]}"):
            await refused.start()
    graphs.linear(tmp_path / "plain" / "model.onnx")
    plain = Repository(PredictorConfig(model_dir=tmp_path / "plain", bundle_digest=pinned.digest), PredictorMetrics())
    with pytest.raises(BundleError, match=f"is not a bundle, not {pinned.digest[:8]}"):
        await plain.start()


async def test_a_pinned_digest_takes_no_other_bundle_later(tmp_path: Path) -> None:
    pinned, foreign_bundle = (graphs.linear_bundle(tmp_path / name, name=name) for name in ("first", "second"))
    repository = Repository(PredictorConfig(model_dir=pinned.path, bundle_digest=pinned.digest), PredictorMetrics())
    await repository.start()
    shutil.rmtree(pinned.path)
    foreign_bundle.path.rename(pinned.path)
    with pytest.raises(MalformedRequest, match=f"is bundle {foreign_bundle.digest[:8]}, not"):
        await repository.load(foreign_bundle.wire_name)
    assert repository.has(pinned.wire_name)


async def test_the_name_flag_names_a_plain_model_only(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path / "bundles")
    graphs.linear(tmp_path / "plain" / "model.onnx")
    for directory, name in ((bundle.path, bundle.wire_name), (tmp_path / "plain", "flag")):
        repository = Repository(PredictorConfig(model_dir=directory, model_name="flag"), PredictorMetrics())
        await repository.start()
        assert repository.get(name).name == name


async def test_a_model_is_loaded_with_its_simpler_model(tmp_path: Path) -> None:
    simpler = graphs.linear_bundle(tmp_path / "simpler", name="simple")
    bundle = graphs.linear_bundle(tmp_path / "bundles", simpler=simpler)
    for digest in ("", bundle.digest):
        repository = Repository(PredictorConfig(model_dir=bundle.path, bundle_digest=digest), PredictorMetrics())
        await repository.start()
        assert (repository.has(bundle.wire_name), repository.has(simpler.wire_name)) == (True, True)
    (tmp_path / "models").mkdir()
    repository = Repository(PredictorConfig(model_repository=tmp_path / "models"), PredictorMetrics())
    await repository.start()
    bundle.path.rename(tmp_path / "models" / bundle.path.name)
    await repository.load(bundle.wire_name)
    assert (repository.has(bundle.wire_name), repository.has(simpler.wire_name)) == (True, True)
