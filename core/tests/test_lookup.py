from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tandem import Feature, FeatureView
from tandem.lookup import LookupPlan
from tandem.store_keys import entities

PARTS = st.one_of(st.text(max_size=6), st.integers(-(2**63), 2**63 - 1).map(str))


@given(st.lists(PARTS, min_size=2, max_size=3), st.lists(PARTS, min_size=2, max_size=3))
def test_different_entities_never_share_a_key(first_entity: list[str], second_entity: list[str]) -> None:
    def key(parts: list[str]) -> bytes:
        return entities([np.array([part, ""], object)[:1] for part in parts])[0]

    if len(first_entity) == len(second_entity):
        assert (key(first_entity) == key(second_entity)) == (first_entity == second_entity)


def test_keys_of_views_are_apart_and_lie_view_after_view() -> None:
    first_version = FeatureView("a", keys=["k"], features=[Feature("x")])
    second_version = FeatureView("a", keys=["k"], features=[Feature("x")], version=2)
    pair = FeatureView("b", keys=["k", "j"], features=[Feature("y")])
    plan = LookupPlan([first_version.on(), second_version.on(prefix="p_"), pair.on(j="i")])
    request = {"k": np.array(["u", "v"], object), "i": np.array([1, 22])}
    assert plan.keys(request) == [b"a:1:u", b"a:1:v", b"a:2:u", b"a:2:v", b"b:1:1:u1", b"b:1:1:v22"]
    views = plan.unpack([None] * 6, 2)
    assert [np.isnat(view.event_time).all() for view in views] == [True] * 3


def test_a_string_that_is_no_valid_unicode_is_a_key_like_any_other() -> None:
    assert entities([np.array(["\ud800"], object)]) != entities([np.array(["\ud801"], object)])
