"""What an experiment consists of: strict pydantic models, one per section of a table's YAML file.

One experiment is (table, row, seed). `benchmark.tables` reads the files; the classes here hold the
fields, their defaults and the checks that need more than one field.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

Task = Literal["retrieval", "classification"]


class Section(BaseModel):
    """Base of all sections: unknown fields are errors, values are not silently converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which items are trained on and which are tested on."""

    name: str = Field(description="Dataset: see `stt-bench list datasets`.")
    root: str | None = Field(None, description="Folder of the data; searched for when not given.")
    task: Task = Field(
        "retrieval",
        description="`retrieval`: test classes are unseen; `classification`: the same classes.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options of this dataset's own function."
    )


class InputConfig(Section):
    """From an image file to the network's input."""

    size: PositiveInt = Field(224, description="Side of the network's square input, pixels.")
    resize: PositiveInt | None = Field(
        None, description="Side after resizing, before the crop, pixels; `size` when not given."
    )
    aspect: Literal["keep", "squash"] = Field(
        "keep", description="`keep`: `resize` is the shorter side; `squash`: it is both sides."
    )
    crop: Literal["center", "random", "random_resized"] = Field(
        "center", description="Training crop; the test crop is `evaluation.crops`."
    )
    flip: bool = Field(False, description="Mirror half of the training images left to right.")
    channels: Literal[1, 3] = 3
    mean: list[float] | None = Field(None, description="Per channel, of pixels in [0, 1].")
    std: list[float] | None = Field(None, description="Per channel; the backbone's own if absent.")

    @model_validator(mode="after")
    def _check(self) -> InputConfig:
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize ({self.resize}) must not be below size ({self.size})")
        if (self.mean is None) != (self.std is None):
            raise ValueError("give mean and std together or neither")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channels:
                raise ValueError(f"{name} needs {self.channels} value(s), has {len(values)}")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be above 0")
        return self


class ModelConfig(Section):
    """Backbone and embedding head."""

    backbone: str = Field(
        "small_cnn", description="`small_cnn`, or a torchvision or timm name: `timm/NAME` forces."
    )
    weights: str | None = Field(
        None, description="`pretrained` (downloaded), a weights file, or none: random start."
    )
    head: Literal["none", "linear", "fc1024"] = Field(
        "linear", description="Embedding head; `none`: the pooled features are the embedding."
    )
    embedding_dim: PositiveInt | None = Field(
        64, description="Size of the embedding; ignored with `head: none`."
    )
    normalize: bool = Field(False, description="L2-normalise the embedding.")
    freeze: list[str] = Field(
        default_factory=list, description="Backbone modules (name prefixes) that do not train."
    )
    freeze_batch_norm: bool = Field(
        False, description="Batch norm uses and keeps its stored statistics and weights."
    )


class LossConfig(Section):
    """A loss by name; all further fields are its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    name: str

    @property
    def params(self) -> dict[str, Any]:
        """Return the loss's own parameters as given."""
        return dict(self.__pydantic_extra__ or {})


class SamplerConfig(Section):
    """How a batch is drawn."""

    name: Literal["pxk", "uniform"] = "pxk"
    p: PositiveInt = Field(8, description="Classes in a batch.")
    k: PositiveInt = Field(4, description="Images of each class in a batch.")
    batch_size: PositiveInt | None = Field(
        None, description="Of the uniform sampler; p × k when not given."
    )

    @model_validator(mode="after")
    def _check(self) -> SamplerConfig:
        if self.name == "pxk" and self.batch_size not in (None, self.p * self.k):
            raise ValueError("batch_size belongs to `name: uniform`; with pxk it is p × k")
        return self

    @property
    def images_per_batch(self) -> int:
        """Return the batch size."""
        return self.batch_size or self.p * self.k


class OptimizerConfig(Section):
    """Optimiser and learning-rate schedule."""

    name: Literal["sgd", "adam", "adamw"] = "adam"
    lr: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="Of sgd.")
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="`linear` and `cosine` fall to 0 at the last step."
    )
    warmup_steps: NonNegativeInt = 0
    backbone_lr_factor: float = Field(
        1.0, ge=0, description="The backbone learns at lr × this; heads and losses at lr."
    )


class TrainConfig(Section):
    """Length and bookkeeping of training."""

    steps: NonNegativeInt = Field(1000, description="0: the untrained network is evaluated.")
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    log_every: PositiveInt = 20
    checkpoint_every: PositiveInt = 200
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    threads: PositiveInt | None = Field(
        None, description="CPU threads; fixes the bytes of a result whatever the machine's cores."
    )
    workers: NonNegativeInt = Field(0, description="Processes that load images.")


class EvaluationConfig(Section):
    """What is measured on the test embeddings."""

    ks: list[PositiveInt] = Field(default=[1, 2, 4, 8], min_length=1)
    distance: Literal["euclidean", "cosine"] = "euclidean"
    clustering: bool = Field(True, description="k-means, NMI and AMI.")
    restarts: PositiveInt = Field(3, description="k-means runs with different starts.")
    batch_size: PositiveInt = Field(256, description="Images embedded at once.")
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

    @model_validator(mode="after")
    def _check(self) -> EvaluationConfig:
        if self.aggregate != "mean" and self.views == 1:
            raise ValueError(f"aggregate: {self.aggregate} needs flip: true or crops: five")
        return self

    @property
    def views(self) -> int:
        """Return how many views of an image are embedded."""
        return (5 if self.crops == "five" else 1) * (2 if self.flip else 1)


class Experiment(Section):
    """Everything a row needs to be trained, embedded and evaluated, but the seed."""

    label: str | None = Field(None, description="The row's name in the leaderboard.")
    data: DataConfig
    input: InputConfig = InputConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig
    softmax_head: bool = Field(
        False, description="Add a classifier on the pooled features: two-head training."
    )
    loss_weight: float = Field(
        1.0, ge=0, description="With softmax_head: total = cross-entropy + loss_weight × loss."
    )
    sampler: SamplerConfig = SamplerConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _loss_may_be_a_name(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("loss"), str):
            return {**value, "loss": {"name": value["loss"]}}
        return value

    @model_validator(mode="after")
    def _check(self) -> Experiment:
        if self.softmax_head and self.loss.name == "softmax":
            raise ValueError(
                "softmax_head adds Softmax to a ranking loss; for Softmax alone leave it out"
            )
        if self.loss_weight != 1.0 and not self.softmax_head:
            raise ValueError("loss_weight needs softmax_head: true")
        if self.model.head != "none" and self.model.embedding_dim is None:
            raise ValueError(f"head: {self.model.head} needs embedding_dim")
        crops, image = self.evaluation.crops, self.input
        if crops != "center" and (image.resize or image.size) == image.size:
            raise ValueError(f"evaluation.crops: {crops} needs input.resize above {image.size}")
        return self

    @property
    def is_softmax_baseline(self) -> bool:
        """Tell whether the row is what the others are compared with."""
        return self.loss.name == "softmax" or self.train.steps == 0

    def digest(self) -> str:
        """Return the sha256 of every setting that can change the result."""
        return digest_of(self._settings())

    def training_digest(self) -> str:
        """Return the sha256 of every setting that can change the trained weights."""
        settings = self._settings()
        settings.pop("evaluation", None)
        return digest_of(settings)

    def _settings(self) -> dict[str, Any]:
        """Return what matters and is not the default, so that a new field changes no digest."""
        bookkeeping = {"log_every", "checkpoint_every", "workers", "device"}
        unimportant: Any = {
            "label": True,
            "data": {"root"},
            "evaluation": {"batch_size"},
            "train": bookkeeping,
        }
        return self.model_dump(mode="json", exclude=unimportant, exclude_defaults=True)


def digest_of(value: Any) -> str:
    """Return the sha256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
