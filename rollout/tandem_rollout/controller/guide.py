"""Between a run and a cluster: which revisions it is about, what is seen of them, where they are counted. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from tandem_rollout.controller import observe
from tandem_rollout.engine.run import Command, Run
from tandem_rollout.engine.schedule import Schedule, plan_hash
from tandem_rollout.engine.seen import Arm, Seen
from tandem_rollout.observation import Observed
from tandem_rollout.plan import Verdicts
from tandem_rollout.render.inferenceservice import HTTP_PORT
from tandem_rollout.render.route import preview_route
from tandem_rollout.revision import Revision
from tandem_rollout.sources import Arms, Place
from tandem_rollout.spec import Rollout

_RULES: Final = (0, 1)
"""REST and gRPC, as they stand in a route."""


def candidate(rollout: Rollout, wanted: Sequence[Revision]) -> Revision:
    """The revision that the spec wants to have the requests; of an A/B test or a shadow, what is compared."""
    strategy = rollout.spec.strategy
    name = strategy.blue_green.active if strategy.blue_green else strategy.shadow.variant if strategy.shadow else ""
    if name:
        return next(each for each in wanted if each.variant.name == name)
    return wanted[-1] if strategy.ab_test else wanted[0]


def serving(schedule: Schedule, wanted: Sequence[Revision], observed: Sequence[Observed]) -> str:
    """The revision that clients meet; empty if there is none. Where weights stay as written, the first with any."""
    if schedule.observes:
        seen = {each.name: each for each in observed}
        ready = (each.name for each in wanted if (own := seen.get(each.name)) and own.weight and own.running)
        return next(ready, "")
    best = max((each for each in observed if each.weight), key=lambda each: each.weight, default=None)
    return best.name if best else ""


def effective(wanted: Sequence[Revision], run: Run | None, earlier: Callable[[str], Revision | None]) -> list[Revision]:
    """The revisions that must be there.

    Args:
        wanted: What the spec asks for.
        run: The run; None before the first.
        earlier: Finds the revision of an InferenceService of an earlier spec; None where it is gone.
    """
    if run is None or run.state in ("Observing", "Concluded"):
        return list(wanted)
    names = {"Promoted": [run.canary], "Aborted": [run.stable]}.get(run.state, [run.stable, run.canary])
    own = {each.name: each for each in wanted}
    found = [each for name in names if (each := own.get(name) or earlier(name)) is not None]
    # variants beside the one that is decided about are served as they are written
    taken = {each.variant.name for each in found}
    return found + [each for each in wanted if each.variant.name not in taken]


def see(
    rollout: Rollout,
    schedule: Schedule,
    wanted: Sequence[Revision],
    observed: Sequence[Observed],
    run: Run | None,
    verdicts: Verdicts,
    *,
    route: Mapping[str, Any] | None,
    command: Command | None,
    deleted: bool,
) -> Seen:
    """What a run is decided by.

    Args:
        rollout: The rollout.
        schedule: What is planned.
        wanted: What the spec asks for.
        observed: All revisions that there are.
        run: The run so far.
        verdicts: What contracts say.
        route: The HTTPRoute.
        command: What a person asks for.
        deleted: Whether the rollout is being deleted.
    """
    target = candidate(rollout, wanted)
    on_its_way = run is not None and not run.ended
    stable = run.stable if run is not None and (on_its_way or run.state == "Promoted") else ""
    stable = stable or serving(schedule, wanted, observed)
    canary = run.canary if run is not None and on_its_way else target.name
    weights = observe.route_weights(route)
    whole = sum(weights.values())
    return Seen(
        wanted=target.name,
        plan=plan_hash(rollout.spec, target.name),
        serving=serving(schedule, wanted, observed),
        stable=_arm(rollout, stable, observed, verdicts),
        canary=_arm(rollout, canary, observed, verdicts),
        routed=round(100 * weights.get(canary, 0) / whole) if whole else None,
        edited=observe.edited(route),
        command=command,
        deleted=deleted,
    )


def _arm(rollout: Rollout, name: str, observed: Sequence[Observed], verdicts: Verdicts) -> Arm:
    each = next((each for each in observed if each.name == name), None)
    scaling = rollout.spec.autoscaling
    most = (scaling.transformer.max_replicas, scaling.predictor.max_replicas)
    if each is None:
        return Arm(most=most)
    # a container that ends may run yet; a proof that failed, and a contract, stay what they are
    refuted = each.problem if each.fatal and each.running else ""
    return Arm(
        pods=(each.transformers, each.predictors),
        most=most,
        fit=each.usable and not verdicts.against(name),
        refused=verdicts.refused.get(name) or refuted,
        problem=each.problem or verdicts.waits.get(name, ""),
    )


def arms(
    rollout: Rollout,
    schedule: Schedule,
    run: Run,
    pods: Callable[[str], Iterable[Mapping[str, Any]]],
    weights: Sequence[str],
    gateway: tuple[tuple[str, str], ...] = (),
) -> Arms:
    """Where the two revisions of a run are counted.

    Args:
        rollout: The rollout.
        schedule: What is planned.
        run: The run.
        pods: Pods of an InferenceService.
        weights: InferenceServices with weight, in the order of the route.
        gateway: Addresses of the statistics of the gateway's proxies.
    """
    on_preview = not schedule.observes and run.weight == 0
    return Arms(
        namespace=rollout.namespace,
        stable=Place(
            service=run.stable,
            clusters=_clusters(rollout.namespace, rollout.name, run.stable, weights),
            pods=_addresses(pods(run.stable)),
        ),
        canary=Place(
            service=run.canary,
            clusters=_clusters(rollout.namespace, preview_route(rollout), run.canary, [run.canary])
            if on_preview
            else _clusters(rollout.namespace, rollout.name, run.canary, weights),
            pods=_addresses(pods(run.canary)),
        ),
        gateway=gateway,
    )


def _clusters(namespace: str, route: str, service: str, weights: Sequence[str]) -> tuple[str, ...]:
    """Names that Envoy Gateway gives the clusters of a backend: by its position in the rule."""
    if service not in weights:
        return ()
    at = list(weights).index(service)
    return tuple(f"httproute/{namespace}/{route}/rule/{rule}/backend/{at}" for rule in _RULES)


def _addresses(pods: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Metrics of the transformers that run."""
    return tuple(
        (pod["metadata"]["name"], f"http://{address}:{HTTP_PORT}/metrics")
        for pod in pods
        if observe.component(pod) == "transformer" and (address := (pod.get("status") or {}).get("podIP"))
    )
