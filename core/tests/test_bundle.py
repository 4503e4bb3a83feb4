from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tandem import Bundle, BundleError, EmbeddedModel, bundle_directory
from tandem.bundle_directory import find
from tandem.manifest import GOLDEN, MANIFEST, MODEL

Trained = Any


def test_holds_all_that_serving_takes(bundle: Bundle) -> None:
    names = {file.name for file in bundle.path.iterdir()}
    assert names == {MANIFEST, MODEL, GOLDEN, "rides-1.0-py3-none-any.whl"}
    assert bundle.path.name == bundle.wire_name == f"rides-{bundle.digest[:8]}"
    assert bundle.digest == hashlib.sha256((bundle.path / MANIFEST).read_bytes()).hexdigest()
    assert bundle.contract == bundle.model.contract
    assert bundle.signature.columns == bundle.pipeline().signature.columns
    assert sum(bundle.manifest.training_histogram) == 40


def test_same_content_has_the_same_digest(trained: Trained, bundle: Bundle, tmp_path: Path) -> None:
    again = trained.write(tmp_path)
    assert again.digest == bundle.digest
    second_bundle = trained.write(tmp_path, version="v2")
    assert second_bundle.digest != bundle.digest
    assert [entry.version for entry in find(tmp_path)] == ["v1", "v2"]


def test_bundle_that_is_there_already_is_left_alone(trained: Trained, tmp_path: Path) -> None:
    first = trained.write(tmp_path)
    before = (first.path / MANIFEST).stat()
    trained.write(tmp_path)
    assert (first.path / MANIFEST).stat().st_mtime_ns == before.st_mtime_ns
    assert [file.name for file in tmp_path.iterdir()] == [first.path.name]


def test_nothing_is_left_of_a_write_that_fails(bundle: Bundle, tmp_path: Path) -> None:
    files = {name: bundle.path / name for name in bundle.manifest.files}
    with pytest.raises(FileNotFoundError):
        bundle_directory.write(tmp_path, bundle.manifest, files | {"x": tmp_path / "nowhere"})
    with pytest.raises(FileNotFoundError, match="sub/file"):
        bundle_directory.write(tmp_path, bundle.manifest, {**files, "sub/file": bundle.path / MODEL})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [MANIFEST, MODEL, GOLDEN, "rides-1.0-py3-none-any.whl"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: content + b"\0",
        lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
    ],
    ids=["cut off", "empty", "longer", "one bit"],
)
def test_damage_is_noticed(copied: Path, bundle: Bundle, name: str, damage: Callable[[bytes], bytes]) -> None:
    file = copied / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BundleError, match=name if name != MANIFEST else f"{MANIFEST}|is bundle"):
        Bundle.open(copied, digest=bundle.digest)


def test_missing_file_is_named(copied: Path) -> None:
    (copied / MODEL).unlink()
    with pytest.raises(BundleError, match=r"model\.onnx: No such file"):
        Bundle.open(copied)


def test_foreign_file_is_named(copied: Path) -> None:
    (copied / "notes.txt").write_text("?")
    with pytest.raises(BundleError, match=r"notes\.txt does not belong"):
        Bundle.open(copied)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle.open(tmp_path / "nowhere")


def test_another_bundle_than_asked_for(bundle: Bundle) -> None:
    assert Bundle.open(bundle.path, digest=bundle.digest[:8]).digest == bundle.digest
    with pytest.raises(BundleError, match="not 00000000"):
        Bundle.open(bundle.path, digest="0" * 64)


def changed(manifest: Path, **changes: Any) -> None:
    content = json.loads(manifest.read_text())
    for name, change in changes.items():
        content[name] = change(content[name]) if callable(change) else change
    manifest.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "tandem-bundle/2"}, "has format 'tandem-bundle/2'; this version reads 'tandem-bundle/1'"),
        ({"format": None}, "has format None"),
        ({"name": 5}, r"Expected `str`, got `int` - at `\$.name`"),
        ({"signature_hash": "0"}, "does not have the stated hash"),
        ({"files": lambda files: files | {"../x": "0" * 64}}, "outside the bundle"),
        ({"files": lambda files: files | {"a/b": "0" * 64}}, "outside the bundle"),
        ({"files": lambda files: files | {"..": "0" * 64}}, "outside the bundle"),
        ({"files": lambda files: files | {"": "0" * 64}}, "outside the bundle"),
        ({"files": lambda files: files | {"/etc/passwd": "0" * 64}}, "outside the bundle"),
        ({"files": lambda files: files | {MANIFEST: "0" * 64}}, "lists itself"),
        ({"files": lambda files: {name: files[name] for name in files if name != MODEL}}, "lists no model.onnx"),
        ({"files": lambda files: {name: files[name] for name in files if "whl" not in name}}, "lists no wheel"),
        ({"name": "other"}, "is of 'other', its contract of 'rides'"),
    ],
)
def test_manifest_that_cannot_be(copied: Path, changes: dict[str, Any], reason: str) -> None:
    changed(copied / MANIFEST, **changes)
    with pytest.raises(BundleError, match=reason):
        assert Bundle.open(copied).model


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "5", '"x"', "\xff"])
def test_manifest_that_is_no_json_object(copied: Path, text: str) -> None:
    (copied / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match="is damaged: not a JSON object"):
        Bundle.open(copied)


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("numpy<1", "needs numpy<1, has 2"),
        ("python>=4", "needs python>=4, has 3"),
        ("no-such-library-anywhere>=1", "no-such-library-anywhere>=1 is not installed"),
        ("tandem-core>=99", "needs tandem-core>=99, has 0"),
        ("not a requirement", "cannot be read"),
    ],
)
def test_requirements_that_are_not_met(copied: Path, requirement: str, reason: str) -> None:
    changed(copied / MANIFEST, requirements=lambda met: [*met, requirement])
    with pytest.raises(BundleError, match=f"does not fit this image: .*{reason}"):
        assert Bundle.open(copied).model


def test_requirement_of_another_platform_is_no_concern(copied: Path) -> None:
    changed(copied / MANIFEST, requirements=["numpy<1; sys_platform == 'win32'", "python>=3.11"])
    Bundle.open(copied).check_requirements()


def test_contract_that_is_not_that_of_the_code(copied: Path) -> None:
    def other(contract: dict[str, Any]) -> dict[str, Any]:
        return {**contract, "model": "taxis"}

    changed(copied / MANIFEST, name="taxis", contract=other)
    with pytest.raises(BundleError, match="contract"):
        assert Bundle.open(copied).model


def test_two_versions_of_one_package_in_one_process(
    bundle: Bundle, make_package: Any, train_package: Any, source: str, tmp_path: Path
) -> None:
    package = make_package(source=source.replace("distance_km / speed", "distance_km / speed * 60"))
    second_bundle = train_package(package).write(tmp_path, version="v2")
    old_model, new_model = Bundle.open(bundle.path).model, second_bundle.model
    (first,), (second,) = old_model.on_demand[:1], new_model.on_demand[:1]
    assert (first.name, first.function(30.0, 15.0), second.function(30.0, 15.0)) == ("hours", 2.0, 120.0)
    assert "rides" not in sys.modules


def test_path_that_is_used_again_gives_the_new_code(
    bundle: Bundle, make_package: Any, train_package: Any, source: str, tmp_path: Path
) -> None:
    package = make_package(source=source.replace("distance_km / speed", "distance_km / speed * 60"))
    second_bundle = train_package(package).write(tmp_path, version="v2")
    place = tmp_path / "current"
    shutil.copytree(bundle.path, place)
    assert Bundle.open(place).model.on_demand[0].function(30.0, 15.0) == 2.0
    shutil.rmtree(place)
    shutil.copytree(second_bundle.path, place)
    assert Bundle.open(place).model.on_demand[0].function(30.0, 15.0) == 120.0
    assert EmbeddedModel.open(place).bundle.version == "v2"


@pytest.mark.parametrize("use", [Bundle.graph, Bundle.golden, lambda bundle: bundle.model])
def test_what_has_changed_since_it_was_verified_is_not_used(use: Callable[[Bundle], Any], copied: Path) -> None:
    bundle = Bundle.open(copied)
    for name in bundle.manifest.files:
        with (copied / name).open("ab") as stream:
            stream.write(b"x")
    with pytest.raises(BundleError, match="is damaged"):
        use(bundle)


def test_what_is_in_use_does_not_change_with_the_directory(copied: Path) -> None:
    model = EmbeddedModel.open(copied)
    package = Path(sys.modules[type(model.bundle.model).__module__].__file__ or "").parent
    assert copied not in package.parents
    shutil.rmtree(copied)
    assert model.bundle.model.contract == model.bundle.contract


def test_a_wheel_that_would_be_too_large_is_refused(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.importing.MAX_UNPACKED_BYTES", 100)
    with pytest.raises(BundleError, match=r"rides-1\.0-py3-none-any\.whl: .* at most 100 are taken"):
        _ = Bundle.open(copied).model


def test_golden_rows_that_would_be_too_large_are_refused(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.golden.MAX_UNPACKED_BYTES", 100)
    with pytest.raises(BundleError, match=r"golden\.npz: .* at most 100 are taken"):
        Bundle.open(copied).golden()


def test_a_huge_manifest_is_not_read(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.bundle._MAX_MANIFEST_BYTES", 100)
    with pytest.raises(BundleError, match=r"tandem\.json is larger than 100 bytes"):
        Bundle.open(copied)
