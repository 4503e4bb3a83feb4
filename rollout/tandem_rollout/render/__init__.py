"""From a rollout to the objects of the cluster: KServe, Gateway API, KEDA, monitoring. Pure, and their one author.

:func:`render` makes all of them. The controller applies them in an order that is safe for traffic, from
:func:`render_revision` (what one variant consists of) and :func:`render_rollout` (what clients and Prometheus meet).
"""

from tandem_rollout.render.objects import Object, Placed, render, render_revision, render_rollout

__all__ = ["Object", "Placed", "render", "render_revision", "render_rollout"]
