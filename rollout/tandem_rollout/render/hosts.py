"""Which rollout has which host: hosts that rollouts claim, and who has one that several claim. Pure.

Two rollouts that claim one host at one gateway would share its requests as the gateway's own order of rules has it,
which is by the age of objects. Here it is settled before: the one whose routes answer there already has it, else the
one that was made first. The other one gets no route there.
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
    """The hosts of a rollout.

    Attributes:
        namespace: Namespace of the rollout.
        name: Its name.
        gateway: Namespace and name of its Gateway.
        hosts: Hosts at which clients are to reach it, the preview host included.
        created: When it was made, as Kubernetes writes it.
        held: Hosts at which its routes answer.
    """

    namespace: str
    name: str
    gateway: tuple[str, str]
    hosts: tuple[str, ...]
    created: str = ""
    held: frozenset[str] = frozenset()

    def rank(self, host: str) -> tuple[bool, str, str, str]:
        """Of two that claim a host, the one with the lower rank has it."""
        return host not in self.held, self.created, self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Contest:
    """A host that another rollout claims, too.

    Attributes:
        host: The host.
        rival: Namespace and name of the other one.
        lost: Whether the other one has it.
    """

    host: str
    rival: tuple[str, str]
    lost: bool

    def __str__(self) -> str:
        rival = f"{self.rival[0]}/{self.rival[1]}"
        if self.lost:
            return (
                f"{self.host} is claimed by InferenceRollout {rival}, too, which has it: there is no route at it here"
            )
        return f"{self.host} is claimed by InferenceRollout {rival}, too, which gets no route at it"


def default_host(name: str, namespace: str, domain: str) -> str:
    """Host of a rollout that names none. Neither part has a dot: no two rollouts have the same."""
    return f"{name}.{namespace}.{domain}"


def preview_host(host: str) -> str:
    """Host of the preview of what is at another host."""
    domain = host.removeprefix("*.")
    return f"preview-{host}" if domain == host else f"preview.{domain}"


def claim_hosts(manifest: Plain, domain: str, routes: Iterable[Plain] = ()) -> HostClaim:
    """What a rollout claims, also where its spec is not valid.

    Args:
        manifest: The rollout, as the API server has it.
        domain: Domain of default hosts.
        routes: Its HTTPRoutes.
    """
    metadata = manifest["metadata"]
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
    """Hosts of a rollout that others claim, too, each with the first rival that has it, or else with the first of all.

    A host below another one's wildcard is contested between namespaces only: within one, the more specific of two hosts
    gets its requests, as with any route.

    Args:
        own: The rollout.
        rivals: The others.
    """
    lost: dict[str, Contest] = {}
    won: dict[str, Contest] = {}
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
    """Whether there is a host that both stand for."""
    return one in covering(other) or other in covering(one)


def covering(host: str) -> Iterator[str]:
    """A host, and the wildcards that it is below."""
    yield host
    labels = host.split(".")
    for index in range(1, len(labels)):
        wildcard = ".".join(["*", *labels[index:]])
        if wildcard != host:
            yield wildcard


def permitted(host: str, namespace: str, domain: str, allowed: Mapping[str, Collection[str]]) -> bool:
    """Whether rollouts of a namespace may use a host.

    Args:
        host: The host.
        namespace: The namespace.
        domain: Domain of default hosts; what is below ``NAMESPACE.DOMAIN`` belongs to the namespace.
        allowed: Domains by namespace, ``*`` for those that are not named; without any, all hosts are allowed.
    """
    if not allowed:
        return True
    domains: Sequence[str] = [f"{namespace}.{domain}", *allowed.get(namespace, allowed.get(ANY, ()))]
    return any(suffix == ANY or host == suffix or host.endswith(f".{suffix}") for suffix in domains)


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
