from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tandem import Bundle, BundleError, DefinitionError
from tandem.comparison import first_difference
from tandem.golden import Golden, replay_vectors
from tandem.manifest import GOLDEN


def test_what_is_saved_is_loaded(bundle: Bundle, tmp_path: Path) -> None:
    golden = bundle.golden_inputs()
    golden.save(tmp_path / "g.npz", bundle.model)
    again = Golden.load(tmp_path / "g.npz", bundle.model)
    for expected, actual in (
        (golden.vectors, again.vectors),
        (golden.outputs, again.outputs),
        (golden.answers, again.answers),
    ):
        assert expected.keys() == actual.keys()
        assert all(first_difference(expected[name], actual[name]) is None for name in expected)
    assert again.known_inputs.request.keys() == bundle.contract.inputs.keys()
    for name, field in bundle.contract.inputs.items():
        assert again.known_inputs.request[name].dtype == field.dtype
    assert (tmp_path / "g.npz").read_bytes() == (bundle.path / GOLDEN).read_bytes()


def test_predictor_reads_no_inputs(bundle: Bundle) -> None:
    golden = bundle.golden()
    assert golden.inputs is None
    with pytest.raises(BundleError, match="read without their inputs"):
        replay_vectors(bundle.pipeline(), golden)


def test_vectors_are_the_same_bit_for_bit(bundle: Bundle) -> None:
    replay_vectors(bundle.pipeline(), bundle.golden_inputs())


def test_other_state_is_noticed_with_column_and_row(bundle: Bundle) -> None:
    pipeline = bundle.pipeline()
    state = {**pipeline.state, "standardize_distance_km": {**pipeline.state["standardize_distance_km"], "mean": 0.0}}
    other_pipeline = type(pipeline)(pipeline.model, pipeline.signature, state)
    with pytest.raises(
        BundleError, match="column 'standardize_distance_km' of tensor 'X' differs from training in row 0"
    ):
        replay_vectors(other_pipeline, bundle.golden_inputs())


def test_other_answers_are_noticed(bundle: Bundle) -> None:
    golden = bundle.golden_inputs()
    answers = {name: column.copy() for name, column in golden.answers.items()}
    answers["minutes"][3] = "0.0"
    with pytest.raises(BundleError, match="'minutes' of the answer differs from training in row 3"):
        replay_vectors(bundle.pipeline(), replace(golden, answers=answers))


def test_string_that_the_file_could_not_hold_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    golden = bundle.golden_inputs()
    request = dict(golden.known_inputs.request)
    for text in ("a\0", None):
        request["city_id"] = np.array([text] * len(golden.known_inputs), object)
        odd = replace(golden, inputs=replace(golden.known_inputs, request=request))
        with pytest.raises(DefinitionError, match="request/city_id must be strings"):
            odd.save(tmp_path / "g.npz", bundle.model)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello"])
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "g.npz").write_bytes(content)
    with pytest.raises(BundleError, match=r"g\.npz"):
        Golden.load(tmp_path / "g.npz")


def test_pickle_is_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "g.npz", as_of=np.array([{}], object))
    with pytest.raises(BundleError, match="Python objects, which are not read"):
        Golden.load(tmp_path / "g.npz")


def test_column_that_the_model_lacks(bundle: Bundle, tmp_path: Path) -> None:
    np.savez(tmp_path / "g.npz", as_of=np.zeros(1, "datetime64[us]"))
    with pytest.raises(BundleError, match="no 'speed' among the golden rows"):
        Golden.load(tmp_path / "g.npz", bundle.model)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "g.npz", **{"vector/X": np.empty((0, 2), np.float32), "output/y": np.empty((0, 1))})
    with pytest.raises(BundleError, match=r"g\.npz has no rows"):
        Golden.load(tmp_path / "g.npz")
