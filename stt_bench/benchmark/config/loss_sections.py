"""The sections of a config that name losses."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from stt_bench.benchmark.config import bounds
from stt_bench.benchmark.config.sections import Section


class LossConfig(Section):
    """A loss by name; all further fields are its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    name: str

    @property
    def params(self) -> dict[str, Any]:
        """Return the loss's own parameters as given."""
        return dict(self.__pydantic_extra__ or {})


class MemoryConfig(Section):
    """A cross-batch memory: the loss is also taken between a batch and rows of earlier ones."""

    size: bounds.Images = Field(8192, description="Embeddings in the memory, at least one batch.")
    start_step: bounds.Steps = Field(
        0,
        description="Step of this loss, from 0, in which the memory is first filled and used.",
    )
    order: Literal["before", "after"] = Field(
        "before", description="Whether a batch is put into the memory before it meets it, or after."
    )
    weight: bounds.Factor = Field(1.0, description="total = loss + weight × loss with the memory.")


class PhaseConfig(Section):
    """A loss that trains before the row's own."""

    steps: bounds.Interval = Field(description="Steps that this loss trains for.")
    loss: LossConfig
    lr: bounds.LearningRate | None = Field(None, description="In place of optimizer.lr.")

    @model_validator(mode="before")
    @classmethod
    def _loss_may_be_a_name(cls, value: Any) -> Any:
        return with_named_loss(value)


def with_named_loss(value: Any) -> Any:
    """Turn ``loss: NAME`` into ``loss: {name: NAME}``."""
    if isinstance(value, dict) and isinstance(value.get("loss"), str):
        return {**value, "loss": {"name": value["loss"]}}
    return value
