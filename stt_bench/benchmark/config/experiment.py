"""An experiment: all settings of a row, and the digests that name its results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from stt_bench.benchmark.config.bounds import Factor
from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.config.loss_sections import (
    LossConfig,
    MemoryConfig,
    PhaseConfig,
    with_named_loss,
)
from stt_bench.benchmark.config.sections import (
    DataConfig,
    InputConfig,
    ModelConfig,
    OptimizerConfig,
    SamplerConfig,
    Section,
    TrainConfig,
)

CLASSIFIERS = {  # the losses that know the classes, so that their scores give an accuracy
    "softmax",
    "normalized_softmax",
    "cosface",
    "arcface",
    "proxy_nca",
    "proxy_anchor",
    "soft_triple",
}


class Experiment(Section):
    """Everything a row needs to be trained, embedded and evaluated, but the seed."""

    label: str | None = Field(None, description="The row's name in the leaderboard.")
    data: DataConfig
    input: InputConfig = InputConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig
    memory: MemoryConfig | None = Field(
        None, description="A cross-batch memory of `loss`, which must be one of pairs or triplets."
    )
    softmax_head: bool = Field(
        False, description="Add a classifier on the pooled features: two-head training."
    )
    softmax_on: Literal["features", "embedding"] = Field(
        "features",
        description="What the classifier of softmax_head stands on; `embedding`: one head, trained "
        "by both losses.",
    )
    loss_weight: Factor = Field(
        1.0, description="With softmax_head: total = cross-entropy + loss_weight × loss."
    )
    phases: list[PhaseConfig] = Field(
        default_factory=list,
        description="Losses that train first, each for its steps; `loss` trains for the rest.",
    )
    sampler: SamplerConfig = SamplerConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _loss_may_be_a_name(cls, value: Any) -> Any:
        return with_named_loss(value)

    @model_validator(mode="after")
    def _check(self) -> Experiment:
        if self.softmax_head and "softmax" in {loss.name for loss in self.losses}:
            raise ValueError(
                "softmax_head adds Softmax to a ranking loss; for Softmax alone leave it out"
            )
        if self.loss_weight != 1.0 and not self.softmax_head:
            raise ValueError("loss_weight needs softmax_head: true")
        if self.softmax_on != "features" and not self.softmax_head:
            raise ValueError("softmax_on needs softmax_head: true")
        if self.memory and self.memory.size < self.sampler.images_per_batch:
            raise ValueError(
                f"memory.size ({self.memory.size}) must not be below the batch "
                f"({self.sampler.images_per_batch} images)"
            )
        if self.loss_weight == 0:
            raise ValueError(
                f"loss_weight: 0 never trains {self.loss.name}; for Softmax alone use loss: softmax"
            )
        if self.model.head != "none" and self.model.embedding_dim is None:
            raise ValueError(f"head: {self.model.head} needs embedding_dim")
        if self.train.validate_every is not None and self.data.validation is None:
            raise ValueError("train.validate_every needs data.validation, a share such as 0.2")
        before = sum(phase.steps for phase in self.phases)
        if self.phases and before >= self.train.steps:
            raise ValueError(
                f"the phases take {before} steps and leave none of train.steps "
                f"({self.train.steps}) to the row's own loss"
            )
        self._check_vectors()
        crops, image = self.evaluation.crops, self.input
        if crops != "center" and (image.resize or image.size) == image.size:
            raise ValueError(f"evaluation.crops: {crops} needs input.resize above {image.size}")
        return self

    def _check_vectors(self) -> None:
        """Raise where vectors and images are mixed up."""
        if self.model.backbone != "identity":
            if self.data.name == "features":
                raise ValueError(
                    f"data.name: features are vectors, and model.backbone: {self.model.backbone} "
                    "takes images: use backbone: identity"
                )
            return
        image, measured = self.input, self.evaluation
        for field, given in (
            ("model.weights", self.model.weights is not None),
            ("model.features", self.model.features != "pooled"),
            ("input", image != InputConfig()),
            ("evaluation.crops", measured.crops != "center"),
            ("evaluation.flip", measured.flip),
        ):
            if given:
                raise ValueError(f"{field} is of images, and backbone: identity takes vectors")

    def value_of(self, field: str) -> Any:
        """Return the value of a dotted field; KeyError where there is none."""
        value: Any = self.model_dump(mode="json")
        for key in field.split("."):
            value = value[key]
        return value

    def with_values(self, values: Mapping[str, Any]) -> Experiment:
        """Return the experiment with other values of dotted fields; None takes a parameter out.

        Raises:
            ValueError: the values do not fit the fields or each other.
        """
        content = self.model_dump(mode="json")
        for field, value in values.items():
            *sections, last = field.split(".")
            section = content
            for name in sections:
                section = section[name]
            if value is None:
                section.pop(last, None)
            else:
                section[last] = value
        return Experiment.model_validate(content)

    @property
    def losses(self) -> list[LossConfig]:
        """Return all losses on the embedding, in the order in which they train."""
        return [*(phase.loss for phase in self.phases), self.loss]

    @property
    def validation_metric(self) -> str:
        """Return what selects the weights: accuracy where a classifier knows the classes."""
        classifies = self.softmax_head or self.loss.name in CLASSIFIERS
        return "accuracy" if self.data.task == "classification" and classifies else "map@r"

    @property
    def is_softmax_baseline(self) -> bool:
        """Tell whether the row is what the others are compared with."""
        return self.is_softmax or self.train.steps == 0

    @property
    def is_softmax(self) -> bool:
        """Tell whether Softmax alone trains, from the first step to the last.

        With smoothed labels or adjusted logits it is a method that is compared with Softmax.
        """
        variants = ("label_smoothing", "logit_adjustment")
        plain = not any(self.loss.params.get(name) for name in variants)
        return self.loss.name == "softmax" and plain and not self.phases

    def digest(self) -> str:
        """Return the sha256 of every setting that can change the result."""
        return digest_of(self._settings())

    def training_digest(self) -> str:
        """Return the sha256 of every setting that can change the trained weights."""
        settings = self._settings()
        settings.pop("evaluation", None)
        if self.train.validate_every is not None and self.validation_metric != "accuracy":
            settings["validation_distance"] = self.evaluation.distance
            if rules := self.evaluation.validation_rules:
                settings["validation_rules"] = rules
        return digest_of(settings)

    def _settings(self) -> dict[str, Any]:
        """Return what matters and is not the default, so that a new field changes no digest."""
        bookkeeping = {"log_every", "checkpoint_every", "workers", "device"}
        unimportant: Any = {
            "label": True,
            "data": {"root"},
            "evaluation": {"batch_size", "backend", "memory_mib"},
            "train": bookkeeping,
        }
        return self.model_dump(mode="json", exclude=unimportant, exclude_defaults=True)


def digest_of(value: Any) -> str:
    """Return the sha256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
