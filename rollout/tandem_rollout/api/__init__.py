"""The API: spec and status of an InferenceRollout, the rules of the spec, and the CRD. Pure."""
