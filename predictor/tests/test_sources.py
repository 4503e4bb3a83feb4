from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tandem.errors import BundleError
from tandem_predictor.session import Session
from tandem_predictor.sources import find

from . import graphs


def test_a_plain_model(tmp_path: Path) -> None:
    graphs.linear(tmp_path / "lin" / "model.onnx")
    (source,) = find(tmp_path / "lin")
    assert (source.name, source.version) == ("lin", "1")
    assert find(tmp_path / "lin", "other")[0].name == "other"


def test_the_highest_version_counts(tmp_path: Path) -> None:
    for version in (2, 10, 9):
        graphs.linear(tmp_path / str(version) / "model.onnx")
    (source,) = find(tmp_path, "lin")
    assert (source.version, source.onnx.parent.name) == ("10", "10")


def test_a_bundle_keeps_its_name(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path)
    (source,) = find(bundle.path, "other")
    assert (source.name, source.version, source.bundle()) == (bundle.wire_name, "v1", bundle)


def test_several_models(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path, name="b")
    graphs.linear(tmp_path / "a" / "model.onnx")
    graphs.linear(tmp_path / "c" / "1" / "model.onnx")
    (tmp_path / "empty").mkdir()
    assert [source.name for source in find(tmp_path)] == ["a", bundle.wire_name, "c"]


def test_a_damaged_bundle_says_so(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path)
    bundle.model_path.write_bytes(b"")
    (source,) = find(tmp_path)
    with pytest.raises(BundleError, match=r"model\.onnx is damaged"):
        source.bundle()


def test_a_bundle_is_the_one_that_was_found(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path / "first")
    (source,) = find(bundle.path)
    replacement = graphs.linear_bundle(tmp_path / "second", name="other")
    shutil.rmtree(bundle.path)
    replacement.path.rename(bundle.path)
    with pytest.raises(BundleError, match=f"is bundle {replacement.digest[:8]}, not {bundle.digest[:8]}"):
        source.bundle()


def test_a_damaged_manifest_says_so(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path)
    (bundle.path / "tandem.json").write_text("{}")
    (source,) = find(tmp_path)
    assert "tandem.json has format None" in source.defect
    with pytest.raises(BundleError, match="has format None"):
        source.bundle()


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"model directory .*: No such file"):
        find(tmp_path / "nowhere")


@pytest.mark.parametrize("where", ["", "model.onnx", "3", "3/model.onnx"])
def test_weights_beside_the_model(where: str, tmp_path: Path) -> None:
    directory = tmp_path / "m" / where
    path = graphs.with_weights_beside(directory / "model.onnx")
    (source,) = find(tmp_path / "m")
    assert (source.name, source.onnx) == ("m", path)
    assert Session(source.onnx).run({"x": np.ones((1, 3), np.float32)}, ["y"])[0].tolist() == [[6]]
    (directory / "weights").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx keeps weights in weights, which is not beside it"):
        Session(source.onnx)


def test_a_simpler_model_is_served_beside_its_bundle(tmp_path: Path) -> None:
    simpler = graphs.linear_bundle(tmp_path / "simpler", name="simple")
    bundle = graphs.linear_bundle(tmp_path / "bundles", simpler=simpler)
    own, inner = find(bundle.path)
    assert (own.name, inner.name) == (bundle.wire_name, simpler.wire_name)
    opened = inner.bundle()
    assert opened is not None
    assert opened.digest == simpler.digest
    for source in (own, inner):
        assert source.pinned(bundle.digest).defect == ""
        assert f"is bundle {bundle.digest[:8]}, not" in source.pinned(simpler.digest).defect
    # two versions with the same one
    graphs.linear_bundle(tmp_path / "bundles", version="v2", simpler=simpler)
    assert [source.name for source in find(tmp_path / "bundles")].count(simpler.wire_name) == 1


def test_a_bundle_that_lacks_its_simpler_model_says_so(tmp_path: Path) -> None:
    simpler = graphs.linear_bundle(tmp_path / "simpler", name="simple")
    bundle = graphs.linear_bundle(tmp_path / "bundles", simpler=simpler)
    shutil.rmtree(bundle.path / "simpler")
    (source,) = find(bundle.path)
    with pytest.raises(BundleError, match="simpler is not a bundle"):
        source.bundle()
