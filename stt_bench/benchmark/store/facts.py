"""The facts of a training: where it came from, what it cost, and what became of it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from stt_bench.benchmark.system.errors import BenchError

_WORDS = {"training_digest": "settings", "seed": "seed", "data_hash": "data"}


class Origin(BaseModel):
    """What a training was made from; a checkpoint and a finished training both name it."""

    model_config = ConfigDict(frozen=True)

    training_digest: str
    seed: int
    data_hash: str
    initial_weights: str

    def check(self, now: Origin, folder: Path) -> None:
        """Check that the run in a folder came from the present settings, seed, data and weights.

        Raises:
            BenchError: it did not; going on would mix two experiments.
        """
        for key, word in _WORDS.items():
            if getattr(self, key) != getattr(now, key):
                raise BenchError(
                    f"{folder} was trained with other {word}; add --force to train it "
                    "again, or name another folder with --runs"
                )
        if self.initial_weights != now.initial_weights:
            raise BenchError(
                f"{folder} was trained from other starting weights "
                f"({self.initial_weights}, now {now.initial_weights}); add --force to train it "
                "again"
            )


class TrainingFacts(Origin):
    """What ``training.json`` says of a finished training."""

    steps: int
    selected_step: int | None = None
    seconds: float
    images_per_second: float | None
    peak_memory_mib: float
    collapsed_at: int | None
    inactive: bool = False  # every logged step had 0 terms
    device: str
    threads: int
    checkpoint_sha256: str
    embedding_dim: int
    trained_parameters: int
    classes: list[str]
    versions: dict[str, str]
    pixel_bits: int | None = None  # of grey images of more than 8 bits: see `datasets.depth`
