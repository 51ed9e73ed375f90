"""TensorBoard's projector: embeddings, labels and thumbnails to turn around in a browser.

https://www.tensorflow.org/tensorboard/tensorboard_projector_plugin
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from stt_bench.benchmark.inspection.pictures import save_png, sprite
from stt_bench.benchmark.system.files import write_atomically, write_text

_CONFIG = """\
embeddings {{
  tensor_name: "{name}"
  tensor_path: "tensors.tsv"
  metadata_path: "metadata.tsv"
  sprite {{
    image_path: "sprite.png"
    single_image_dim: {side}
    single_image_dim: {side}
  }}
}}
"""


def write_projector(
    folder: Path,
    name: str,
    embeddings: np.ndarray,
    labels: np.ndarray,
    ids: np.ndarray,
    pictures: np.ndarray,
) -> None:
    """Write (N, D) float32 embeddings, their labels, ids and (N, T, T, 3) pictures.

    The numbers in ``tensors.tsv`` read back as the same float32.
    """
    numbers = io.BytesIO()
    np.savetxt(numbers, embeddings, fmt="%.9g", delimiter="\t")
    write_atomically(folder / "tensors.tsv", lambda stream: stream.write(numbers.getvalue()))
    lines = ["label\tid", *(f"{_cell(a)}\t{_cell(b)}" for a, b in zip(labels, ids, strict=True))]
    write_text(folder / "metadata.tsv", "\n".join(lines) + "\n")
    save_png(sprite(pictures), folder / "sprite.png")
    config = _CONFIG.format(name=name.replace('"', "'"), side=pictures.shape[1])
    write_text(folder / "projector_config.pbtxt", config)


def _cell(text: str) -> str:
    return " ".join(str(text).split("\t")).replace("\n", " ")
