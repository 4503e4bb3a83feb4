"""The source that an analysis names."""

from __future__ import annotations

from tandem_rollout.api.analysis import Analysis, Metric
from tandem_rollout.sources.open import open_source

from .counted import pod, scraped
from .servers import STABLE, Prometheus, arms, serving

PODS = Metric(type="errors", where="pods")


async def trouble(analysis: Analysis, platform: str = "") -> str:
    source = open_source(analysis, platform)
    try:
        return str((await source.read([PODS], arms()))["errors-in-pods"])
    finally:
        await source.close()


async def test_the_analysis_names_prometheus_before_the_platform_does() -> None:
    ours = Prometheus(scraped(pod(), STABLE, "est-a-1"))
    theirs = Prometheus(scraped(pod(), STABLE, "est-a-1"))
    async with serving(ours.answer) as address, serving(theirs.answer) as platform:
        assert "est-a-1" in await trouble(Analysis(prometheus=address), platform)
        assert ours.asked
        assert not theirs.asked
        assert "est-a-1" in await trouble(Analysis(), platform)
        assert len(ours.asked) == len(theirs.asked) > 0


async def test_no_address_at_all() -> None:
    assert "has no address" in await trouble(Analysis())


async def test_pods_themselves() -> None:
    assert "neither version has a pod" in await trouble(Analysis(source="pods"), "http://prometheus.invalid")
