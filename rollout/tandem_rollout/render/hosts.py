"""The hostnames that rollouts claim, and conflicts between them. Pure.

If two rollouts claim a hostname at the same gateway, the gateway would order their rules by the age of the routes. So
the conflict is resolved before: the rollout whose routes already have the hostname keeps it; otherwise the older
rollout gets it. The other rollout gets no route for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Plain = Mapping[str, Any]

_GATEWAY: Final = ("kserve", "kserve-ingress-gateway")
ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class HostClaim:
    """The hostnames that a rollout claims.

    Attributes:
        namespace: Namespace of the rollout.
        name: Its name.
        gateway: Namespace and name of its Gateway.
        hosts: Its hostnames, with the preview host.
        created: Time of its creation, as Kubernetes writes it.
        held: Hostnames that its routes already have.
    """

    namespace: str
    name: str
    gateway: tuple[str, str]
    hosts: tuple[str, ...]
    created: str = ""
    held: frozenset[str] = frozenset()

    def rank(self, host: str) -> tuple[bool, str, str, str]:
        """Rank for a hostname. Of two claims the one with the lower rank gets the hostname."""
        return host not in self.held, self.created, self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Contest:
    """A hostname that another rollout claims, too.

    Attributes:
        host: The hostname.
        rival: Namespace and name of the other rollout.
        lost: Whether the other rollout gets it.
    """

    host: str
    rival: tuple[str, str]
    lost: bool

    def __str__(self) -> str:
        rival = f"{self.rival[0]}/{self.rival[1]}"
        if self.lost:
            return f"{self.host} belongs to InferenceRollout {rival}: this rollout has no route for it"
        return f"{self.host} is also claimed by InferenceRollout {rival}, which has no route for it"


def default_host(name: str, namespace: str, domain: str) -> str:
    """The default hostname of a rollout. Neither name has a dot, so that it is unique."""
    return f"{name}.{namespace}.{domain}"


def preview_host(host: str) -> str:
    """The default preview host for a hostname."""
    domain = host.removeprefix("*.")
    return f"preview-{host}" if domain == host else f"preview.{domain}"


def claim_hosts(manifest: Plain, domain: str, routes: Iterable[Plain] = ()) -> HostClaim:
    """The claim of a rollout, even if its spec is invalid.

    Args:
        manifest: The rollout, as the API server has it.
        domain: Domain of default hostnames.
        routes: Its HTTPRoutes.
    """
    metadata = manifest["metadata"]
    # an invalid spec keeps its hostnames, or another rollout could take them until it is corrected
    spec = _map(manifest.get("spec"))
    route = _map(spec.get("route"))
    gateway = _map(route.get("gateway"))
    hostnames = route.get("hostnames")
    hosts = [host for host in hostnames if isinstance(host, str)] if isinstance(hostnames, list) else []
    hosts = hosts or [default_host(metadata["name"], metadata["namespace"], domain)]
    blue_green = _map(spec.get("strategy")).get("blueGreen")
    if isinstance(blue_green, Mapping):
        hosts = [*hosts, str(blue_green.get("previewHostname") or preview_host(hosts[0]))]
    return HostClaim(
        namespace=metadata["namespace"],
        name=metadata["name"],
        gateway=(str(gateway.get("namespace") or _GATEWAY[0]), str(gateway.get("name") or _GATEWAY[1])),
        hosts=tuple(dict.fromkeys(hosts)),
        created=str(metadata.get("creationTimestamp") or ""),
        held=frozenset(host for http_route in routes for host in http_route["spec"].get("hostnames") or ()),
    )


def find_contests(own: HostClaim, rivals: Iterable[HostClaim]) -> list[Contest]:
    """Conflicts of a rollout: each hostname with the first rival that gets it, or else with the first rival.

    A hostname below a wildcard of another rollout is a conflict between namespaces only. Within a namespace the more
    specific hostname gets its requests, as with any route.

    Args:
        own: The claim of the rollout.
        rivals: The claims of others.
    """
    lost: dict[str, Contest] = {}
    won: dict[str, Contest] = {}
    # a stable order, so that each rollout reports the same rival in every pass
    for rival in sorted(rivals, key=lambda rival: (rival.created, rival.namespace, rival.name)):
        if rival.gateway != own.gateway or (rival.namespace, rival.name) == (own.namespace, own.name):
            continue
        for host in own.hosts:
            for rival_host in rival.hosts:
                if host == rival_host or (rival.namespace != own.namespace and overlap(host, rival_host)):
                    contest = Contest(host, (rival.namespace, rival.name), rival.rank(rival_host) < own.rank(host))
                    (lost if contest.lost else won).setdefault(host, contest)
    return [contested for host in own.hosts if (contested := lost.get(host) or won.get(host))]


def overlap(one: str, other: str) -> bool:
    """Whether a hostname matches both."""
    return one in covering(other) or other in covering(one)


def covering(host: str) -> Iterator[str]:
    """A hostname, and the wildcards that cover it."""
    yield host
    labels = host.split(".")
    for index in range(1, len(labels)):
        wildcard = ".".join(["*", *labels[index:]])
        if wildcard != host:
            yield wildcard


def permitted(host: str, namespace: str, domain: str, allowed: Mapping[str, Collection[str]]) -> bool:
    """Whether rollouts of a namespace may use a hostname.

    Args:
        host: The hostname.
        namespace: The namespace.
        domain: Domain of default hosts; what is below ``NAMESPACE.DOMAIN`` belongs to the namespace.
        allowed: Domains by namespace, with ``*`` for other namespaces. If it is empty, all hostnames are allowed.
    """
    if not allowed:
        return True
    domains: Sequence[str] = [f"{namespace}.{domain}", *allowed.get(namespace, allowed.get(ANY, ()))]
    # with the dot: other-example.com is not below example.com
    return any(suffix == ANY or host == suffix or host.endswith(f".{suffix}") for suffix in domains)


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
