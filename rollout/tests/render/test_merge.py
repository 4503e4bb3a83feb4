"""Merging: what holds whatever is merged."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.render.merge import merge

_names = st.sampled_from(["a", "b", "c", "name"])
_scalars = st.one_of(st.integers(0, 3), st.text("xyz", max_size=2), st.booleans())
_plain = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_names, inner, max_size=3)),
    max_leaves=8,
)
_maps = st.dictionaries(_names, _plain, max_size=4)


def _named(names: list[str]) -> list[dict[str, Any]]:
    return [{"name": name, "n": index} for index, name in enumerate(names)]


@given(_maps)
def test_nothing_over_a_base_is_the_base(base: dict[str, Any]) -> None:
    assert merge(base, {}) == base


@given(_maps)
def test_over_nothing_it_is_itself(over: dict[str, Any]) -> None:
    assert merge({}, over) == over


@given(_maps, _maps)
def test_merging_twice_changes_nothing_more(base: dict[str, Any], over: dict[str, Any]) -> None:
    once = merge(base, over)
    assert merge(once, over) == once


@given(_maps, _maps)
def test_neither_side_is_changed(base: dict[str, Any], over: dict[str, Any]) -> None:
    before = copy.deepcopy((base, over))
    merge(base, over)
    assert (base, over) == before


@given(_maps, _names)
def test_none_removes_a_key_and_nothing_else(base: dict[str, Any], key: str) -> None:
    assert merge(base, {key: None}) == {name: value for name, value in base.items() if name != key}


@given(_maps, _names, _scalars)
def test_a_value_replaces_a_value_and_nothing_else(base: dict[str, Any], key: str, value: Any) -> None:
    assert merge(base, {key: value}) == {**base, key: value}


@given(st.lists(_names, unique=True, min_size=1), st.lists(_names, unique=True, min_size=1))
def test_named_things_are_merged_by_name_in_their_order(base: list[str], over: list[str]) -> None:
    merged = merge(_named(base), [{"name": name, "over": True} for name in over])
    assert [item["name"] for item in merged] == [*base, *(name for name in over if name not in base)]
    assert {item["name"] for item in merged if item.get("over")} == set(over)
    assert all("n" in item for item in merged if item["name"] in base)


def test_none_removes_at_every_depth() -> None:
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": None}, "d": {"e": {"f": None}}}) == {
        "a": {"c": 2},
        "d": {"e": {}},
    }


def test_a_name_that_is_no_text_names_nothing() -> None:
    assert merge({"l": [{"name": "a"}]}, {"l": [{"name": []}]}) == {"l": [{"name": []}]}


def test_other_lists_are_replaced_as_a_whole() -> None:
    assert merge({"args": ["--a", "--b"]}, {"args": ["--c"]}) == {"args": ["--c"]}
    assert merge({"env": _named(["a"])}, {"env": []}) == {"env": []}
