"""Hostnames of all rollouts: an index of claims, and the hostnames that each rollout gets."""

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
    """The hostnames of a rollout.

    Attributes:
        reachable: Hostnames at which clients reach it.
        withheld: Hostnames at which it gets no route.
        conflict: Cause of a conflict with another rollout; None if there is none.
        forbidden: Cause of hostnames that the installation does not allow; None if there are none.
    """

    reachable: tuple[str, ...]
    withheld: frozenset[str] = frozenset()
    conflict: Cause | None = None
    forbidden: Cause | None = None


def settle(rollout: Rollout, platform: Platform, own: HostClaim, rivals: Iterable[HostClaim]) -> Hosts:
    """Decide which hostnames a rollout gets.

    Args:
        rollout: The rollout.
        platform: The installation, which allows hostnames.
        own: The claim of the rollout.
        rivals: The claims of other rollouts.
    """
    domains = platform.domains

    def allowed(claim: HostClaim) -> HostClaim:
        hosts = (host for host in claim.hosts if permitted(host, claim.namespace, platform.domain, domains))
        return replace(claim, hosts=tuple(hosts))

    ours = allowed(own)
    forbidden = [host for host in own.hosts if host not in ours.hosts]
    # a claim that is not allowed does not withhold the hostname from others
    contested = find_contests(ours, map(allowed, rivals))
    not_allowed = [
        f"{host} is not below a domain that the installation allows for namespace {rollout.namespace}"
        for host in forbidden
    ]
    withheld = frozenset(forbidden) | {contest.host for contest in contested if contest.lost}
    return Hosts(
        reachable=tuple(host for host in hostnames(rollout, platform) if host not in withheld),
        withheld=withheld,
        conflict=Cause("HostnameConflict", "; ".join(map(str, contested))) if contested else None,
        forbidden=Cause("HostnameNotAllowed", "; ".join(not_allowed)) if not_allowed else None,
    )


class HostIndex:
    """An index of the claims by hostname."""

    def __init__(self) -> None:
        self._claims: dict[Key, HostClaim] = {}
        self._exact: defaultdict[str, set[Key]] = defaultdict(set)
        self._below: defaultdict[str, set[Key]] = defaultdict(set)

    def put(self, claim: HostClaim) -> set[Key]:
        """Set the claim of a rollout; returns the others whose hostnames its hostnames overlap, now or before."""
        key = claim.namespace, claim.name
        earlier = self._claims.get(key)
        # most events change the status only, and concern no other rollout
        if earlier is not None and (earlier.gateway, earlier.hosts) == (claim.gateway, claim.hosts):
            return set()
        touched = self.drop(key)
        self._claims[key] = claim
        for host in claim.hosts:
            self._exact[host].add(key)
            # both directions are indexed, so that rivals are found without a scan of all claims
            for wildcard in covering(host):
                self._below[wildcard].add(key)
        return touched | self.rivals(claim)

    def drop(self, key: Key) -> set[Key]:
        """Remove the claim of a rollout; returns the others whose hostnames its hostnames overlapped."""
        claim = self._claims.pop(key, None)
        if claim is None:
            return set()
        for host in claim.hosts:
            _discard(self._exact, host, key)
            for wildcard in covering(host):
                _discard(self._below, wildcard, key)
        return self.rivals(claim)

    def rivals(self, claim: HostClaim) -> set[Key]:
        """The other rollouts with a hostname that overlaps one of a claim."""
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
