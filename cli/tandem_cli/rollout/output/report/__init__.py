"""Writes the evidence of a run for a change ticket, in Markdown or HTML.

:mod:`.series` turns samples into series over time, and :mod:`.plots` places them in pixels. :mod:`.content` puts the
report into words. :mod:`.markdown` and :mod:`.page` write it. All functions are pure.
"""
