"""The section `evaluation`: what is measured on the test embeddings, and by which rules."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from stt_bench.benchmark.config import bounds
from stt_bench.benchmark.config.sections import Section

Backend = Literal["auto", "torch-cpu", "torch-cuda", "faiss-cpu", "faiss-gpu", "dense"]
Metric = Literal["recall", "r_precision", "map@r", "mrr", "map", "precision", "map@k", "ndcg"]
EXTRA: tuple[Metric, ...] = ("map", "precision", "map@k", "ndcg")
"""The metrics that are measured where a table asks for them; the others always are."""
RULES = (
    "query_groups", "groups_apply_to", "junk", "label_separator", "map_at_k", "class_average",
    "rerank", "query_expansion", "queries",
)  # fmt: skip
"""The fields that change numbers of one name; set, each is in the protocol."""
VALIDATION_RULES = ("query_groups", "groups_apply_to", "junk", "label_separator", "class_average")
"""Those of them that hold in the validation of a training, too."""


class RerankConfig(Section):
    """k-reciprocal re-ranking, see `stt_bench.evaluation.reranked_distances`."""

    k1: bounds.CutOff = Field(20, description="Places of the first neighbour sets.")
    k2: bounds.CutOff = Field(6, description="Places of the average; 1 is none.")
    weight: float = Field(0.3, ge=0, le=1, description="λ: the share of the plain distance.")


class ExpansionConfig(Section):
    """Query expansion, see `stt_bench.evaluation.expanded_queries`."""

    k: bounds.CutOff = Field(10, description="Gallery items that are added to a query.")
    alpha: bounds.Factor = Field(0.0, description="How steeply nearer items weigh more; 0: alike.")


class EvaluationConfig(Section):
    """What is measured on the test embeddings."""

    ks: list[bounds.CutOff] = Field(
        default=[1, 2, 4, 8], min_length=1, max_length=1000, description="K of Recall@K."
    )
    distance: Literal["euclidean", "cosine"] = Field(
        "cosine",
        description="What ranks, clusters and selects weights; retrieval is measured by both.",
    )
    clustering: bool = Field(True, description="k-means, NMI and AMI.")
    restarts: int = Field(3, ge=1, le=10_000, description="k-means runs with different starts.")
    clustering_start: Literal["random", "k-means++"] = Field(
        "random", description="The first centroids: random items, or greedy k-means++ (slower)."
    )
    batch_size: bounds.Images = Field(256, description="Images embedded at once.")
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = Field(
        "float32", description="Of the network while it embeds; class scores stay in float32."
    )
    channels_last: bool | None = Field(
        None,
        description="Memory layout while it embeds; quicker with convolutions, and changes last "
        "digits. Not given: on a GPU.",
    )
    crops: Literal["center", "five", "whole"] = Field(
        "center",
        description="`five`: also the corners of the resized image; `whole`: its central square "
        "of side `resize`, larger than in training, over which the backbone pools.",
    )
    flip: bool = Field(False, description="Embed every crop mirrored left to right as well.")
    aggregate: Literal["mean", "normalized_mean"] = Field(
        "mean",
        description="From several views to one embedding; `normalized_mean`: of unit vectors.",
    )
    storage: Literal["float32", "float16"] = Field(
        "float32", description="Of the embeddings on disk, which the metrics are computed on."
    )
    backend: Backend = Field(
        "auto", description="What searches the neighbours; the numbers do not depend on it."
    )
    memory_mib: int = Field(
        256,
        ge=1,
        le=1 << 24,
        description="Memory of the neighbour search; the numbers do not depend on it.",
    )
    query_groups: str | None = Field(
        None,
        description="Column of the data (camera, sequence): a gallery item of the query's label "
        "with an equal value is in no list of that query; an empty cell equals none.",
    )
    groups_apply_to: Literal["label", "all"] = Field(
        "label", description="`all`: items of an equal value, whatever their label, are taken out."
    )
    junk: str | None = Field(
        None, description="Column of the data, true or false: true items are in no list at all."
    )
    label_separator: str | None = Field(
        None,
        min_length=1,
        max_length=8,
        description="Where it stands in a label, the item has several; a hit is a shared one.",
    )
    metrics: list[Metric] = Field(
        default_factory=list, description="Beside recall, r_precision, map@r and mrr."
    )
    map_at_k: Literal["min", "relevant", "hits"] = Field(
        "min", description="What MAP@K divides by: K or the positives, the smaller; these; hits."
    )
    class_average: bool = Field(
        False, description="Retrieval is the mean over classes of the means over their queries."
    )
    verification: list[bounds.Share] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="False accept rates: TAR at each, equal error rate and ROC area of all pairs.",
    )
    rerank: RerankConfig | None = Field(None, description="Lists by k-reciprocal re-ranking.")
    query_expansion: ExpansionConfig | None = Field(
        None, description="Queries are joined by their nearest gallery items before they search."
    )

    queries: int | None = Field(
        None,
        ge=2,
        le=1_000_000_000,
        description="How many queries, drawn at random, search the gallery, for sets that are too "
        "large for all of them; standard errors are told. The draw is the same for all rows.",
    )

    @field_validator("metrics")
    @classmethod
    def _once(cls, asked: list[Metric]) -> list[Metric]:
        """Keep those that are not measured anyway, in one order: a digest knows no other."""
        return [one for one in EXTRA if one in asked]

    @field_validator("verification")
    @classmethod
    def _ascending(cls, rates: list[float] | None) -> list[float] | None:
        return None if rates is None else sorted(set(rates))

    @model_validator(mode="after")
    def _check(self) -> EvaluationConfig:
        if self.aggregate != "mean" and self.views == 1:
            raise ValueError(f"aggregate: {self.aggregate} needs flip: true or crops: five")
        if self.groups_apply_to != "label" and self.query_groups is None:
            raise ValueError("groups_apply_to: all needs query_groups, a column of the data")
        if self.map_at_k != "min" and "map@k" not in self.metrics:
            raise ValueError(f"map_at_k: {self.map_at_k} needs map@k in metrics")
        if self.query_expansion is not None and self.distance != "cosine":
            raise ValueError("query_expansion needs distance: cosine; it joins rows of unit length")
        whole = ("rerank", "verification", "class_average")
        if self.queries is not None and (one := next(filter(self.__getattribute__, whole), None)):
            raise ValueError(f"queries goes without {one}, which needs all queries")
        if self.label_separator is not None and self.clustering:
            raise ValueError(
                "label_separator needs clustering: false; clusters are of one label an item"
            )
        return self

    @property
    def views(self) -> int:
        """Return how many views of an image are embedded."""
        return (5 if self.crops == "five" else 1) * (2 if self.flip else 1)

    @property
    def columns(self) -> list[str]:
        """Return the further columns of the data that the rules read."""
        return [name for name in (self.query_groups, self.junk) if name is not None]

    @property
    def rules_set(self) -> dict[str, Any]:
        """Return the rules that are not the default: they mark the numbers beside them."""
        found = self.model_dump(mode="json", include=set(RULES))
        default = type(self).model_fields
        return {name: one for name, one in found.items() if one != default[name].default}

    @property
    def validation_rules(self) -> dict[str, Any]:
        """Return the rules that are set and hold where held-out training items are measured."""
        return {name: one for name, one in self.rules_set.items() if name in VALIDATION_RULES}

    @property
    def reorders(self) -> bool:
        """Tell whether lists are made from the neighbours of neighbours, not by distance alone."""
        return self.rerank is not None or self.query_expansion is not None
