"""Hosts of all rollouts: who else claims one, which is found without looking at every rollout, and what follows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.spec import Rollout
from tandem_rollout.render.hosts import HostClaim, covering, find_contests, permitted
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.route import hostnames

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Hosts:
    """What is to be said about the hosts of a rollout.

    Attributes:
        reachable: Hosts at which its clients reach it.
        withheld: Hosts at which it gets no route.
        conflict: Which hosts others claim, too; None where there is none.
        forbidden: Which hosts the installation does not allow; None where there is none.
    """

    reachable: tuple[str, ...]
    withheld: frozenset[str] = frozenset()
    conflict: Cause | None = None
    forbidden: Cause | None = None


def settle(rollout: Rollout, platform: Platform, own: HostClaim, rivals: Iterable[HostClaim]) -> Hosts:
    """Which hosts a rollout has.

    Args:
        rollout: The rollout.
        platform: Which hosts the installation allows.
        own: What it claims.
        rivals: What others claim.
    """
    domains = platform.domains

    def allowed(claim: HostClaim) -> HostClaim:
        hosts = (host for host in claim.hosts if permitted(host, claim.namespace, platform.domain, domains))
        return replace(claim, hosts=tuple(hosts))

    ours = allowed(own)
    forbidden = [host for host in own.hosts if host not in ours.hosts]
    # nobody keeps others from a host by claiming what it may not have
    contested = find_contests(ours, map(allowed, rivals))
    not_allowed = [
        f"{host} is not below a domain that the installation allows namespace {rollout.namespace}" for host in forbidden
    ]
    withheld = frozenset(forbidden) | {contest.host for contest in contested if contest.lost}
    return Hosts(
        reachable=tuple(host for host in hostnames(rollout, platform) if host not in withheld),
        withheld=withheld,
        conflict=Cause("HostnameConflict", "; ".join(map(str, contested))) if contested else None,
        forbidden=Cause("HostnameNotAllowed", "; ".join(not_allowed)) if not_allowed else None,
    )


class HostIndex:
    """Who claims which host."""

    def __init__(self) -> None:
        self._claims: dict[Key, HostClaim] = {}
        self._exact: defaultdict[str, set[Key]] = defaultdict(set)
        self._below: defaultdict[str, set[Key]] = defaultdict(set)

    def put(self, claim: HostClaim) -> set[Key]:
        """Take what a rollout claims now; returns the others whose hosts its hosts, now or before, overlap."""
        key = claim.namespace, claim.name
        earlier = self._claims.get(key)
        if earlier is not None and (earlier.gateway, earlier.hosts) == (claim.gateway, claim.hosts):
            return set()
        touched = self.drop(key)
        self._claims[key] = claim
        for host in claim.hosts:
            self._exact[host].add(key)
            for wildcard in covering(host):
                self._below[wildcard].add(key)
        return touched | self.rivals(claim)

    def drop(self, key: Key) -> set[Key]:
        """A rollout is gone; returns the others whose hosts its hosts overlapped."""
        claim = self._claims.pop(key, None)
        if claim is None:
            return set()
        for host in claim.hosts:
            _discard(self._exact, host, key)
            for wildcard in covering(host):
                _discard(self._below, wildcard, key)
        return self.rivals(claim)

    def rivals(self, claim: HostClaim) -> set[Key]:
        """The other rollouts with a host that overlaps one of these."""
        keys: set[Key] = set()
        for host in claim.hosts:
            keys |= self._below.get(host, set())
            for wildcard in covering(host):
                keys |= self._exact.get(wildcard, set())
        return keys - {(claim.namespace, claim.name)}


def _discard(index: defaultdict[str, set[Key]], host: str, key: Key) -> None:
    keys = index[host]
    keys.discard(key)
    if not keys:
        del index[host]
