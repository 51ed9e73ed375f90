"""TensorBoard's projector: embeddings, labels and thumbnails to turn around in a browser.

https://www.tensorflow.org/tensorboard/tensorboard_projector_plugin
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from stt_bench.benchmark.system.atomic import folder_beside, told_in_a_sentence
from stt_bench.benchmark.system.text import one_line


def write_projector(
    folder: Path,
    name: str,
    embeddings: np.ndarray,
    labels: np.ndarray,
    ids: np.ndarray,
    pictures: np.ndarray,
) -> None:
    """Write (N, D) float32 embeddings, their labels, ids and uint8 (N, T, T, 3) pictures.

    The folder is for ``tensorboard --logdir`` and replaces the one of an earlier call. The numbers
    in it read back as the same float32.

    Raises:
        BenchError: the folder cannot be written.
    """
    import torch
    from torch.utils.tensorboard import SummaryWriter

    # It goes to 0–255 by cutting off what follows the point.
    shown = (torch.from_numpy(pictures).permute(0, 3, 1, 2) + 0.5) / 255
    metadata = [[one_line(label), one_line(item)] for label, item in zip(labels, ids, strict=True)]
    with told_in_a_sentence(folder), folder_beside(folder) as beside:
        new = beside / folder.name
        with SummaryWriter(str(new)) as writer:
            writer.add_embedding(
                np.asarray(embeddings),
                metadata,
                shown,
                tag=name.replace("/", " "),
                metadata_header=["label", "id"],
            )
        if folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)
