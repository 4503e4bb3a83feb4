"""Parity: whether a version predicts the same in every mode, from the same rows and the same stored features.

unusual.py      values at the edges of what a contract allows
samples.py      rows, in each of the forms in which a mode takes them: at random, and the golden ones
results.py      what a mode made of them
reference.py    the same by the pipeline itself, all rows at once
comparing.py    the difference of the two
"""

from tandem.parity.comparing import Difference, Parity, compare
from tandem.parity.reference import Reference
from tandem.parity.results import RecordedRun, Results, read_answers, read_degraded
from tandem.parity.samples import Sample, golden_samples, random_sample, split_rows

__all__ = [
    "Difference",
    "Parity",
    "RecordedRun",
    "Reference",
    "Results",
    "Sample",
    "compare",
    "golden_samples",
    "random_sample",
    "read_answers",
    "read_degraded",
    "split_rows",
]
