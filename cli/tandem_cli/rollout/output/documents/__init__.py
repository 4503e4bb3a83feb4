"""The machine-readable output of ``tandem rollout``: ``-o json`` and ``-o yaml``, a module per command.

Each document names its ``kind`` and the version of the schema. Within one version of the schema, fields are only added.
Values that are not known are null; no field is left out.
"""
