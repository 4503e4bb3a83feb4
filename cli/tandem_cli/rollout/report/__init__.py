"""The evidence of a run, fit for a change ticket: what was asked, counted and decided, in Markdown, HTML or JSON.

:mod:`.form` gathers it, :mod:`.tracks` makes series of the samples, :mod:`.plots` places them, :mod:`.content` puts
it into words, :mod:`.markdown` and :mod:`.page` write it down. All pure.
"""
