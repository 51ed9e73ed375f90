"""All of a table: train → embed → evaluate for each row and seed, skipping what is done."""

from stt_bench.benchmark.suite.one import Data, failure_noted, is_done, note_start
from stt_bench.benchmark.suite.table import Outcome, load_table, run_table

__all__ = [
    "Data",
    "Outcome",
    "failure_noted",
    "is_done",
    "load_table",
    "note_start",
    "run_table",
]
