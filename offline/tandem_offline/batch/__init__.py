"""A version predicts for rows of the offline store, and appends the predictions to a table: see ``docs/batch.md``."""

from tandem_offline.batch.layout import Layout
from tandem_offline.batch.opening import open_output
from tandem_offline.batch.outputs import Output, OutputError, Progress
from tandem_offline.batch.plan import ROWS_PER_PART, BatchPlan, name_run, plan_batch
from tandem_offline.batch.running import BatchSummary, Estimate, estimate, write_batch
from tandem_offline.batch.scoring import RowError, Scored, score

__all__ = [
    "ROWS_PER_PART",
    "BatchPlan",
    "BatchSummary",
    "Estimate",
    "Layout",
    "Output",
    "OutputError",
    "Progress",
    "RowError",
    "Scored",
    "estimate",
    "name_run",
    "open_output",
    "plan_batch",
    "score",
    "write_batch",
]
