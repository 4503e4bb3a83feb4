"""The controller: makes the cluster what the InferenceRollouts say. All that decides is pure and lies outside of it."""
