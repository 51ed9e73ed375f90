"""The sections that a table has beside its rows."""

from __future__ import annotations

from pydantic import Field

from stt_bench.benchmark.config import bounds
from stt_bench.benchmark.config.sections import Section


class TuningConfig(Section):
    """How the rows of a table are tuned, all alike; `train.steps` is the longest length."""

    studies: bounds.Studies = Field(
        3, description="Searches of their own; seed s takes the winner of study s mod studies."
    )
    trials: bounds.Trials = Field(20, description="Points that a study tries.")
    folds: bounds.Folds = Field(
        4,
        description="Parts of the training classes (retrieval) or of each class's training images "
        "(classification); each is held out once.",
    )
    every: bounds.Interval = Field(50, description="Steps between two validations.")
    patience: bounds.Trials = Field(
        4, description="Validations without a better mean over the folds that end a trial."
    )


COMPARED = ("map@r", "accuracy", "macro_accuracy", "nmi", "ami")
"""What rows may be compared with Softmax by; and every ``recall@K`` of `evaluation.ks`."""


class FigureConfig(Section):
    """A second figure of a table: MAP@R (and accuracy) over a field, a curve for each loss."""

    x: str = Field(description="Dotted field on the horizontal axis, such as `loss_weight`.")
    lines: str = Field(
        "loss.name",
        description="Field that a curve stands for; `row` for a row that `vary` makes several of.",
    )
    panels: str | None = Field(None, description="Field that a panel stands for.")
    rows: list[str] | None = Field(None, description="The rows that are drawn; all if not given.")

    @property
    def fields(self) -> list[str]:
        """Return the dotted fields that a row needs beside `x`, to be drawn."""
        return [field for field in (self.lines, self.panels) if field not in (None, "row")]


class Varied(Section):
    """Of which row `vary` made a row, and whether it is that row as it would be without `vary`."""

    row: str
    label: str
    usual: bool
