"""Outages are as frequent and as long as asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tandem_rollout.simulation.outage import ABSENT, SEEN, UNREADABLE, Blackouts, Outage


def looks(outage: Outage, looks: int = 400, rollouts: int = 200) -> np.ndarray:
    blackouts = Blackouts(outage, np.random.default_rng(1), rollouts)
    return np.stack([blackouts.next_sample() for _ in range(looks)])


@pytest.mark.parametrize(("share", "lasting"), [(0.1, 1.0), (0.3, 5.0), (0.5, 20.0)])
def test_flaky_metrics_are_missing_as_often_and_as_long(share: float, lasting: float) -> None:
    codes = looks(Outage(what="unreadable", share=share, lasting=lasting))
    out = codes == UNREADABLE
    assert out.mean() == pytest.approx(share, rel=0.1)
    begun = out[1:] & ~out[:-1]
    assert out[1:].sum() / begun.sum() == pytest.approx(lasting, rel=0.15)


def test_metrics_that_are_never_there() -> None:
    assert (looks(Outage(what="absent"), 10) == ABSENT).all()


def test_either_kind_by_chance() -> None:
    codes = looks(Outage(what="either", share=0.4))
    assert (codes == ABSENT).mean() == pytest.approx(0.2, abs=0.02)
    assert (codes == UNREADABLE).mean() == pytest.approx(0.2, abs=0.02)
    assert (codes == SEEN).mean() == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("fields", [{"share": 0.0}, {"share": 1.5}, {"lasting": 0.5}, {"share": 0.9}])
def test_outages_that_cannot_be(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="outage"):
        Outage(what="absent", **fields)
