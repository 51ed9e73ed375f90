"""What a record holds of the distance that does not rank."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, Strict

from stt_bench.benchmark.store.class_records import ClassRetrieval


class OtherDistance(BaseModel):
    """Retrieval, over all queries and by class, under the distance that does not rank."""

    model_config = ConfigDict(extra="forbid")

    distance: Literal["euclidean", "cosine"]
    metrics: dict[str, Annotated[FiniteFloat, Strict()]]
    class_values: ClassRetrieval | None = None
