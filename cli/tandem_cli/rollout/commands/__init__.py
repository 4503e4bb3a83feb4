"""The commands of ``tandem rollout``, a module for each; those that are sent to a rollout are in :mod:`.send`."""
