"""Moves a run: takes samples, asks the engine, records, applies. The controller and the local stack share it."""
