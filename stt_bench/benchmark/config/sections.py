"""The sections of a config: strict pydantic models, one per section of a table's YAML file.

`experiment` puts them together, `tables` reads the files; the classes here hold the fields, their
defaults and the checks that need more than one field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stt_bench.benchmark.config import bounds

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
    validation: Annotated[float, Field(gt=0, lt=1)] | Literal["official"] | None = Field(
        None,
        description="Share of the training classes (retrieval) or of each class's training images "
        "(classification) that is held out of training; `official`: the data's own validation "
        "split.",
    )
    long_tail: float | None = Field(
        None,
        gt=1,
        le=1e9,
        description="Training images of the first class / of the last; even if absent.",
    )
    skip_unreadable: bool = Field(
        False,
        description="Leave out images that cannot be read; else they are an error. What is left "
        "out stands in record and page and changes the data hash.",
    )


class InputConfig(Section):
    """From an image file to the network's input."""

    size: bounds.Pixels = Field(224, description="Side of the network's square input, pixels.")
    resize: bounds.Pixels | None = Field(
        None, description="Side after resizing, before the crop, pixels; `size` when not given."
    )
    resize_max: bounds.Pixels | None = Field(
        None,
        description="With `crop: random`: each training image's side after resizing is drawn from "
        "`resize` to `resize_max`.",
    )
    aspect: Literal["keep", "squash"] = Field(
        "keep", description="`keep`: `resize` is the shorter side; `squash`: it is both sides."
    )
    resize_by: Literal["pillow", "torch"] = Field(
        "pillow",
        description="What resizes decoded images: `torch` takes less time where they are in colour "
        "and the CPU has AVX2, and some of its pixels are a level, rarely two, off Pillow's.",
    )
    crop: Literal["center", "random", "random_resized"] = Field(
        "center", description="Training crop; the test crop is `evaluation.crops`."
    )
    flip: bool = Field(False, description="Mirror half of the training images left to right.")
    views: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Random views of each training image that are fixed once, by its content; a "
        "step draws one of them. Not given: new crops and flips in every step.",
    )
    channels: Literal[1, 3] = 3
    mean: list[bounds.Level] | None = Field(None, description="Per channel, of pixels in [0, 1].")
    std: list[bounds.Level] | None = Field(
        None, description="Per channel; the backbone's own if absent."
    )

    @model_validator(mode="after")
    def _check(self) -> InputConfig:
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize ({self.resize}) must not be below size ({self.size})")
        if self.resize_max is not None:
            if self.crop != "random":
                raise ValueError(f"resize_max needs crop: random, not {self.crop}")
            if self.resize_max <= (self.resize or self.size):
                raise ValueError(
                    f"resize_max ({self.resize_max}) must be above "
                    f"resize ({self.resize or self.size})"
                )
        if (self.mean is None) != (self.std is None):
            raise ValueError("give mean and std together or neither")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channels:
                raise ValueError(f"{name} needs {self.channels} value(s), has {len(values)}")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be above 0")
        if self.views is not None and self.crop == "center" and not self.flip:
            raise ValueError("views needs a random crop or flip: true; without, all are the same")
        return self

    @property
    def is_fixed(self) -> bool:
        """Tell whether the views of a training image are known before the first step."""
        return self.views is not None or (self.crop == "center" and not self.flip)


class ModelConfig(Section):
    """Backbone and embedding head."""

    backbone: str = Field(
        "small_cnn", description="`small_cnn`, or a torchvision or timm name: `timm/NAME` forces."
    )
    weights: str | None = Field(
        None,
        description="`pretrained` (the library's default, downloaded), a torchvision tag such as "
        "`IMAGENET1K_V1`, a weights file, or none: random start.",
    )
    head: Literal["none", "linear", "fc1024", "mlp"] = Field(
        "linear", description="Embedding head; `none`: the pooled features are the embedding."
    )
    head_start: Literal["orthogonal", "pca", "identity"] = Field(
        "orthogonal",
        description="What a linear head starts from: a random orthogonal projection, the principal "
        "components of the training features, or the first features as they are.",
    )
    features: Literal["pooled", "flattened"] = Field(
        "pooled",
        description="What the head stands on; `flattened`: the last feature map before pooling.",
    )
    embedding_dim: int | None = Field(
        64, ge=1, le=65_536, description="Size of the embedding; ignored with `head: none`."
    )
    normalize: bool = Field(False, description="L2-normalise the embedding.")
    freeze: Literal["all"] | list[str] = Field(
        default_factory=list,
        description="Backbone modules (name prefixes) that do not train; `all`: all of them.",
    )
    freeze_batch_norm: bool = Field(
        False, description="Batch norm uses and keeps its stored statistics and weights."
    )
    sync_batch_norm: bool = Field(
        False,
        description="Where several processes share a batch, batch norm takes its mean and variance "
        "from all of it, as one process does.",
    )

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if self.head == "none" and self.features == "flattened":
            raise ValueError(
                "features: flattened needs a head; with head: none the embedding is the pooled "
                "features"
            )
        if self.head_start != "orthogonal" and self.head != "linear":
            raise ValueError(f"head_start: {self.head_start} needs head: linear, not {self.head}")
        if self.head_start == "pca" and self.features == "flattened":
            raise ValueError("head_start: pca needs features: pooled")
        return self


class SamplerConfig(Section):
    """How a batch is drawn."""

    name: Literal["pxk", "uniform", "grouped"] = "pxk"
    p: bounds.Images = Field(8, description="Classes in a batch.")
    k: bounds.Images = Field(4, description="Images of each class in a batch.")
    batch_size: bounds.Images | None = Field(
        None, description="Of the uniform and grouped samplers; p × k when not given."
    )
    buffer: int = Field(
        100,
        ge=1,
        le=1_000_000_000,
        description="Of the grouped sampler: images that are mixed, of a list by class.",
    )

    @model_validator(mode="after")
    def _check(self) -> SamplerConfig:
        if self.name == "pxk" and self.batch_size not in (None, self.p * self.k):
            raise ValueError("batch_size belongs to `name: uniform`; with pxk it is p × k")
        if self.name != "grouped" and self.buffer != 100:
            raise ValueError("buffer belongs to `name: grouped`")
        return self

    @property
    def images_per_batch(self) -> int:
        """Return the batch size."""
        return self.batch_size or self.p * self.k

    @property
    def text(self) -> str:
        """Return the sampler as a leaderboard names it."""
        if self.name == "pxk":
            return f"{self.p}×{self.k}"
        return "uniform" if self.name == "uniform" else f"by class, buffer {self.buffer}"


class OptimizerConfig(Section):
    """Optimiser and learning-rate schedule."""

    name: Literal["sgd", "adam", "adamw"] = "adam"
    lr: bounds.LearningRate = 1e-3
    momentum: float = Field(0.9, ge=0, lt=1, description="Of sgd.")
    weight_decay: bounds.Factor = 0.0
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="`linear` and `cosine` fall to 0 at the last step."
    )
    warmup_steps: bounds.Steps = 0
    backbone_lr_factor: bounds.Factor = Field(
        1.0, description="The backbone learns at lr × this; heads and losses at lr."
    )
    proxy_lr_factor: bounds.Factor = Field(
        1.0,
        description="Learned vectors of the classes (proxies, centres) and bounds (β of the margin "
        "loss) learn at lr × this, without weight decay; 0: they stay as they start.",
    )


class TrainConfig(Section):
    """Length and bookkeeping of training."""

    steps: bounds.Steps = Field(1000, description="0: the untrained network is evaluated.")
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = Field(
        "float32",
        description="Of the network: `tf32` is float32 whose products a GPU takes in TF32; "
        "losses and distances stay in float32.",
    )
    chunk: bounds.Images | None = Field(
        None,
        description="Images that are encoded at once, where the memory does not hold a batch: the "
        "loss is still that of the whole batch, and so are its gradients. Takes another forward "
        "pass. Not given: the whole batch.",
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of an exponential moving average of the weights, such as 0.999: it is "
        "what is validated, embedded and evaluated. Not given: the weights themselves.",
    )
    compile: bool = Field(
        False, description="Compile the network's training step by torch.compile."
    )
    log_every: bounds.Interval = 20
    checkpoint_every: bounds.Interval = 200
    validate_every: bounds.Interval | None = Field(
        None,
        description="Steps between measurements on data.validation; the best weights are kept. "
        "Not given: those of the last step.",
    )
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="CPU threads; fixes the bytes of a result whatever the machine's cores.",
    )
    workers: Annotated[int, Field(ge=0, le=1024)] | Literal["auto"] = Field(
        "auto",
        description="Processes that make batches ahead of the step. `auto`: 0 on two cores, on the "
        "CPU, and where images in memory are only cropped, else one a core. No number is changed.",
    )
