"""Faults of the parts of a pair, one after the other, under a steady load."""
