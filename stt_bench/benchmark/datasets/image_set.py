"""Batches and views of the prepared images of some items: their crops and flips."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets.augmentation import (
    crop,
    draw_mirrored,
    draw_windows,
    gather,
    mirror,
)
from stt_bench.benchmark.datasets.items import ItemTable, Split
from stt_bench.benchmark.datasets.prepared_images import PreparedImages
from stt_bench.benchmark.datasets.sampler import Stream
from stt_bench.benchmark.datasets.transforms import (
    center_crop,
    five_crops,
)

Crops = Literal["center", "five", "whole"]


def image_set(
    items: ItemTable,
    split: Split,
    config: InputConfig,
    *,
    training: bool,
    crops: Crops = "center",
) -> ImageSet:
    """Return the images of a split, the same set to all that ask for the same preparation.

    The rows of a table share their images, so that each is decoded once and not once a row.
    """
    if crops == "whole":
        config = config.model_copy(update={"size": config.resize or config.size})
    unprepared = (
        {"mean", "std"} if training else {"mean", "std", "crop", "flip", "resize_max", "views"}
    )
    key = (split, training, crops == "five", config.model_dump_json(exclude=unprepared))
    if key not in items.prepared:
        items.prepared[key] = ImageSet(
            items, items.split(split), config, training=training, five=crops == "five"
        )
    images: ImageSet = items.prepared[key]
    return images


class ImageSet(PreparedImages):
    """Batches and views of prepared uint8 images of a frame's rows.

    With `training`, `batch` with a generator makes the config's random crops; with `five`, `views`
    are five crops; otherwise, and for `crop: center`, the crop is part of the preparation.
    """

    _seeds: list[bytes] | None = None

    @property
    def is_random(self) -> bool:
        """Tell whether `batch` draws from the generator that it is given."""
        return self.training and (self.config.crop != "center" or self.config.flip)

    def batch(
        self,
        rows: np.ndarray,
        rng: np.random.Generator | None = None,
        part: slice | None = None,
    ) -> torch.Tensor:
        """Return the images of some rows as uint8 (B, C, size, size).

        Without a generator the crop is central; with one, crops and flips are random as the
        config says. They are drawn for all rows; where a part of these is named, only its images
        are made.
        """
        made = rows if part is None else rows[part]
        if rng is None or not self.training:
            return self._central(self._prepared(made))
        if self.config.views is not None:
            drawn = rng.integers(0, self.config.views, len(rows))[part or slice(None)]
            pairs = zip(made.tolist(), drawn.tolist(), strict=True)
            return torch.cat([self.view(row, number) for row, number in pairs])
        return self._random(rows, rng, part)

    def view(self, row: int, number: int) -> torch.Tensor:
        """Return a fixed view of a training image, (1, C, size, size).

        Its random crop and flip are functions of the image's content and the number (from 0).
        """
        if self._seeds is None:
            self._seeds = self.items.contents(self.paths)
        assert self._seeds is not None
        words = np.frombuffer(self._seeds[row], dtype="<u4").tolist()
        rng = np.random.default_rng([*words, int(Stream.VIEWS), number])
        return self._random(np.array([row]), rng)

    def _random(
        self, rows: np.ndarray, rng: np.random.Generator, part: slice | None = None
    ) -> torch.Tensor:
        """Return random crops and flips of some rows, drawn for all, made of a part."""
        part = part or slice(None)
        if self._crops_later:
            images = self._cropped(rows, rng, part)
        else:
            images = self._central(self._prepared(rows[part]))
        if self.config.flip:
            mirror(images, draw_mirrored(len(rows), rng)[part])
        return images

    def _cropped(self, rows: np.ndarray, rng: np.random.Generator, part: slice) -> torch.Tensor:
        size, made = self.config.size, rows[part]
        if isinstance(self._kept, torch.Tensor):
            sizes = np.full((len(rows), 2), self._kept.shape[-2:])
            windows = draw_windows(sizes, self.config, rng).part(part)
            if not windows.resize(size):
                return gather(self._kept, made, windows, size)
            return crop([self._kept[row] for row in made.tolist()], windows, size)
        prepared = list(self._prepared(made))
        return crop(prepared, draw_windows(self._sizes_of(rows), self.config, rng).part(part), size)

    def _central(self, prepared: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        if isinstance(prepared, torch.Tensor) and not self._crops_later:
            return prepared
        crops = [center_crop(image, self.config.size) for image in prepared]
        return torch.stack(crops).contiguous()

    def views(self, rows: np.ndarray, *, flip: bool = False) -> list[torch.Tensor]:
        """Return the views of some rows, each uint8 (B, C, size, size).

        They are the central crop, or five crops; with `flip` the same mirrored follow.
        """
        if self.five:
            crops = five_crops(list(self._prepared(rows)), self.config.size)
        else:
            crops = [self.batch(rows)]
        return crops + [crop.flip(-1) for crop in crops] if flip else crops
