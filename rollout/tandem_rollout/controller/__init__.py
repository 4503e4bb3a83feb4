"""The controller: it applies the desired state of InferenceRollouts to the cluster. Decisions are pure functions."""
