"""How fast a training goes, for who looks on: ``progress.json`` in a run's folder.

Metrics and weights are the same in every run of one config and seed; times are not, so they have a
file of their own. It is gone once the training is at its end.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from stt_bench.benchmark.system.atomic import write_atomically
from stt_bench.benchmark.system.errors import BenchError


class Progress(BaseModel):
    """How far a training has come since it was last started.

    Attributes:
        first: Step that it started from.
        step: Step that it is at.
        started: Unix time (s) of its start.
        now: Unix time (s) of `step`.
        images: Images a step.
    """

    model_config = ConfigDict(frozen=True)

    first: int = Field(ge=0)
    step: int = Field(ge=0)
    started: FiniteFloat
    now: FiniteFloat
    images: int = Field(ge=0)

    @property
    def seconds_a_step(self) -> float | None:
        """Return the mean since the start; None before the first step."""
        done, took = self.step - self.first, self.now - self.started
        return took / done if done > 0 and took > 0 else None

    @property
    def images_per_second(self) -> float | None:
        """Return the mean since the start; None before the first step."""
        each = self.seconds_a_step
        return None if each is None else self.images / each

    def seconds_left(self, steps: int | None, since: float) -> float | None:
        """Return how long the rest of so many steps takes, where `since` seconds are over since."""
        each = self.seconds_a_step
        if each is None or steps is None:
            return None
        return max(0.0, (steps - self.step) * each - max(0.0, since))


def progress_file(folder: Path) -> Path:
    """Return the file in a run's folder."""
    return folder / "progress.json"


def write_progress(folder: Path, progress: Progress) -> None:
    """Note how far it is; where that cannot be written, it is not."""
    text = progress.model_dump_json().encode()
    with suppress(BenchError):
        write_atomically(progress_file(folder), lambda stream: stream.write(text), durable=False)


def read_progress(folder: Path) -> Progress | None:
    """Return how far it is; None where nothing tells it."""
    with suppress(OSError, ValidationError):
        return Progress.model_validate_json(progress_file(folder).read_bytes())
    return None
