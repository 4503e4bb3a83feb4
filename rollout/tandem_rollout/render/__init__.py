"""Renders the objects of a rollout: KServe, Gateway API, KEDA and monitoring. Pure.

:func:`render` renders all objects. The controller uses :func:`render_revision` (the objects of one revision) and
:func:`render_rollout` (routes, policies and PodMonitor), and applies them in an order that is safe for traffic.
"""

from tandem_rollout.render.objects import Object, Placed, render, render_revision, render_rollout

__all__ = ["Object", "Placed", "render", "render_revision", "render_rollout"]
