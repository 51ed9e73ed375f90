"""The facts of a training: where it came from, what it cost, and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from stt_bench.benchmark.system.errors import RefusedError

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
            RefusedError: it did not; going on would mix two experiments.
        """
        for key, word in _WORDS.items():
            if getattr(self, key) != getattr(now, key):
                raise RefusedError(
                    f"{folder} was trained with other {word}; train it again "
                    "with --force, or name another folder with --runs"
                )
        if self.initial_weights != now.initial_weights:
            raise RefusedError(
                f"{folder} was trained from other starting weights "
                f"({self.initial_weights}, now {now.initial_weights}); train it again "
                "with --force"
            )


class Training(BaseModel):
    """What a training cost, on what it ran, and what became of it."""

    model_config = ConfigDict(extra="forbid")

    seconds: FiniteFloat = Field(ge=0)
    images_per_second: FiniteFloat | None
    peak_memory_mib: FiniteFloat = Field(ge=0)
    trained_parameters: int = Field(ge=0)
    collapsed_at: int | None
    selected_step: int | None = None
    inactive: bool = False  # the loss has terms, and no step had any
    skipped_steps: int | None = None  # by the loss scaler, in float16: they changed nothing
    unreadable: dict[str, str] | None = None  # why images that were left out cannot be read
    device: str
    threads: int
    processes: int | None = None  # that shared each batch, where there were several

    @model_serializer(mode="wrap")
    def _without_what_cannot_be(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what few trainings have, so that what others write is what it was."""
        content: dict[str, Any] = handler(self)
        for name in ("skipped_steps", "processes", "unreadable", "file_sha256"):
            if content.get(name, 0) is None:
                del content[name]
        return content


class TrainingFacts(Origin, Training):
    """What ``training.json`` says of a finished training."""

    steps: int
    checkpoint_sha256: str  # of the weights, as one file holds them
    file_sha256: str | None = None  # of that of the run, where its frozen part lies beside it
    embedding_dim: int
    classes: list[str]
    versions: dict[str, str]
    commit: str | None = None
    probe: dict[str, FiniteFloat] | None = None  # of training: see `training.probe`
    vector_width: int | None = None  # where the items are vectors
    pixel_bits: int | None = None  # of grey images of more than 8 bits: see `datasets.depth`
