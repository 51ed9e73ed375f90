"""The images of some items, prepared for a network: read and decoded, kept where they fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch

from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets.depth import MOST_BITS
from stt_bench.benchmark.datasets.in_memory import from_array, memory_limit, together
from stt_bench.benchmark.datasets.items import ItemTable
from stt_bench.benchmark.datasets.refusal import UnreadableError, refusal
from stt_bench.benchmark.datasets.stores import FileStore, ZipStore
from stt_bench.benchmark.datasets.threads import Progress, thread_count
from stt_bench.benchmark.datasets.transforms import (
    TooThinError,
    center_crop,
    prepare,
    prepared_size,
)
from stt_bench.benchmark.datasets.unreadable import look_at
from stt_bench.benchmark.system.blocks import by_blocks
from stt_bench.benchmark.system.errors import BenchError

_SAMPLE = 16  # images from which the need of memory and time is estimated
_WORTH_THREADS = 5e-4  # seconds an image; quicker ones are slowed down by threads


class PreparedImages:
    """Prepared uint8 images of a frame's rows, in memory where all of them fit.

    Where crops are made later, an image is the whole of what they are made of; where the side is
    drawn too, it is kept at the largest, `resize_max`.
    """

    def __init__(
        self,
        items: ItemTable,
        frame: pd.DataFrame,
        config: InputConfig,
        *,
        training: bool = False,
        five: bool = False,
    ) -> None:
        """Choose the images; nothing is read yet."""
        self.items, self.config = items, config
        self.paths: list[str] = frame["path"].tolist()
        self.training, self.five = training, five
        self._crops_later = five or (training and config.crop != "center")
        largest = config.resize_max if training else None
        self._resized_later = largest is not None or (training and config.crop == "random_resized")
        self._kept_as = config.model_copy(update={"resize": largest}) if largest else config
        self._kept: torch.Tensor | list[torch.Tensor] | None = None
        self._sizes = np.zeros((len(self.paths), 2), np.int32)  # 0: not known yet
        self._checked = False

    @property
    def in_memory(self) -> bool:
        """Tell whether nothing has to be read for a batch."""
        return self._kept is not None

    @property
    def costly(self) -> bool:
        """Tell whether images are read or resized for a training batch, not only moved."""
        return self._resized_later or not self.in_memory

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def load(self, progress: Progress | None = None) -> bool:
        """Prepare all images if they fit into memory; tell whether they are there.

        `progress(done, total)` is called now and then.
        """
        if self._kept is not None:
            return True
        try:
            self._kept = self._from_array()
            if self._kept is None:
                bytes_each, seconds_each = self._cost()
                if len(self) * bytes_each <= memory_limit():
                    self._kept = self._decode_all(
                        thread_count() if seconds_each > _WORTH_THREADS else 1, progress
                    )
        except BenchError:
            self.check()  # tells of all
            raise
        if self._kept is not None and progress is not None:
            progress(len(self), len(self))
        return self._kept is not None

    def _sizes_of(self, rows: np.ndarray) -> np.ndarray:
        """Return height and width (B, 2) of prepared images; those never seen are prepared."""
        unknown = rows[self._sizes[rows, 0] == 0]
        if len(unknown):
            self._decode(unknown)
        return self._sizes[rows].astype(np.int64)

    def check(self, progress: Progress | None = None) -> None:
        """Prepare every image once; one error tells of all that cannot be prepared.

        It tells of the other splits' too. Images that were checked before are not prepared again;
        nor are files that this user's programs found readable once, if they have not changed since.
        """
        if self._checked:
            return
        if self._failures(progress):
            frame = self.items.frame
            every = type(self)(
                self.items, frame, self.config, training=self.training, five=self.five
            )
            skippable = self.items.skippable
            raise refusal(self.items.name, every._failures(), len(frame), skippable=skippable)
        self._checked = True

    def _failures(self, progress: Progress | None = None) -> list[BenchError]:
        found, rows = [], self._doubtful(progress)
        done = len(self) - len(rows)
        with by_blocks(self._failure, rows, thread_count()) as blocks:
            for some in blocks:
                found += [error for error in some if error is not None]
                done += len(some)
                if progress is not None:
                    progress(done, len(self))
        return found

    def _doubtful(self, progress: Progress | None) -> Sequence[int]:
        """Return the rows that only preparing can tell of; of the others, note the sizes."""
        store, bits = self.items.store, self.items.bits or MOST_BITS
        if not isinstance(store, FileStore | ZipStore):
            return range(len(self))
        rows = []
        for row, known in enumerate(look_at(store, self.paths, progress)):
            try:
                if isinstance(known, str) or known.bits > bits:
                    rows.append(row)
                else:
                    size = prepared_size(known.width, known.height, self._kept_as)
                    self._sizes[row] = size[::-1]
            except TooThinError:
                rows.append(row)
        return rows

    def _failure(self, row: int) -> BenchError | None:
        try:
            self._prepare(row)
        except BenchError as error:
            return error
        return None

    def _prepared(self, rows: np.ndarray) -> torch.Tensor | list[torch.Tensor]:
        if isinstance(self._kept, torch.Tensor):
            return torch.index_select(self._kept, 0, torch.from_numpy(rows))
        if self._kept is not None:
            return [self._kept[row] for row in rows]
        return self._decode(rows)

    def _prepare(self, row: int) -> torch.Tensor:
        path = self.paths[row]
        image = self.items.read(path)
        try:
            planes = not self._resized_later
            prepared = prepare(image, self._kept_as, self.items.bits, planes=planes)
        except TooThinError as error:
            raise BenchError(f"image {path} cannot be converted ({error})") from error
        except Exception as error:  # PIL raises nearly anything on odd modes and broken tags
            raise UnreadableError(f"image {path} cannot be converted", str(error)) from error
        self._sizes[row] = prepared.shape[-2:]
        return prepared if self._crops_later else center_crop(prepared, self.config.size)

    def _prepare_block(self, rows: Sequence[int]) -> list[torch.Tensor]:
        return [self._prepare(row) for row in rows]

    def _decode(self, rows: np.ndarray) -> list[torch.Tensor]:
        count = min(thread_count(), len(rows))
        if count <= 1:
            return self._prepare_block(rows.tolist())
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(self._prepare, rows.tolist()))

    def _cost(self) -> tuple[float, float]:
        """Return the mean bytes and median seconds that a prepared image takes, from a sample."""
        rows = np.linspace(0, len(self) - 1, min(_SAMPLE, len(self)), dtype=int)
        sizes, seconds = [], []
        for row in rows.tolist():
            start = time.perf_counter()
            sizes.append(self._prepare(row).numel())
            seconds.append(time.perf_counter() - start)
        return float(np.mean(sizes)), float(np.median(seconds))

    def _decode_all(
        self, threads: int, progress: Progress | None
    ) -> torch.Tensor | list[torch.Tensor]:
        def done(count: int) -> None:
            if progress is not None and count < len(self):
                progress(count, len(self))

        with by_blocks(self._prepare, range(len(self)), threads) as blocks:
            return together(blocks, len(self), done)

    def _from_array(self) -> torch.Tensor | None:
        images = from_array(self.items, self.paths, self._kept_as, memory_limit())
        if images is None:
            return None
        if not self._crops_later:
            images = center_crop(images, self.config.size)
        layout = torch.channels_last if self._resized_later else torch.contiguous_format
        return images.expand(-1, self.config.channels, -1, -1).contiguous(memory_format=layout)
