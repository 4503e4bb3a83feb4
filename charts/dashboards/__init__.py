"""Grafana's dashboards of the chart ``tandem``.

:mod:`.model` and :mod:`.rollouts` say what they show, :mod:`.run` has the panels about a run, :mod:`.queries` the
PromQL that they share; :mod:`.grafana` makes JSON of it. ``python -m charts.dashboards`` writes the files.
"""
