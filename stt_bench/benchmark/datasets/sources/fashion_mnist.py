"""Fashion-MNIST, read from torchvision's folder layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.archives import Archive, Download
from stt_bench.benchmark.datasets.catalog import Counts, Source, register_dataset
from stt_bench.benchmark.datasets.sources.official import subfolder
from stt_bench.benchmark.datasets.stores import ArrayStore
from stt_bench.benchmark.system.errors import BenchError

_RAW = Path("FashionMNIST", "raw")


_ADDRESS = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_DOWNLOAD = Download(
    *(Archive(f"{_ADDRESS}{name}", f"md5:{md5}", _RAW.as_posix()) for name, md5 in _MD5.items())
)


@register_dataset(
    "fashion_mnist",
    folder="fashion-mnist",
    also=("FashionMNIST",),
    counts={
        "retrieval": Counts(train=30_000, test=5_000, train_classes=5, test_classes=5),
        "classification": Counts(train=60_000, test=10_000, train_classes=10, test_classes=10),
    },
    get="unpack its four files from https://github.com/zalandoresearch/fashion-mnist "
    f"into data/fashion-mnist/{_RAW.as_posix()}",
    download=_DOWNLOAD,
)
def fashion_mnist(root: Path, task: Task) -> Source:
    """70,000 clothing images of 28×28 grey pixels in ten classes.

    Classification has the official 60,000 and 10,000 images. Retrieval trains on the train images
    of the first five classes and tests on the test images of the last five.
    """
    from torchvision.datasets import FashionMNIST
    from torchvision.datasets.mnist import read_image_file, read_label_file

    raw = subfolder(root, _RAW.as_posix(), "raw")
    tables, images = [], []
    for split, part in (("train", "train"), ("test", "t10k")):
        try:
            pixels = read_image_file(str(raw / f"{part}-images-idx3-ubyte")).numpy()
            classes = read_label_file(str(raw / f"{part}-labels-idx1-ubyte")).numpy()
            labels = np.array(FashionMNIST.classes)[classes]
            if len(pixels) != len(classes):
                raise ValueError(f"{len(pixels)} images, {len(classes)} labels")
        except Exception as error:  # torchvision asserts, indexes and reshapes unchecked bytes
            reason = str(error).partition("\n")[0].rstrip(".")
            raise BenchError(
                f"no Fashion-MNIST {split} images can be read from {raw} ({reason}): "
                "it holds the four official ubyte files; remove the folder to have it "
                "downloaded again"
            ) from error
        keep = np.full(len(classes), True)
        if task == "retrieval":
            keep = classes < 5 if split == "train" else classes >= 5
        paths = [f"{split}/{row:05}" for row in np.flatnonzero(keep)]
        tables.append(
            pd.DataFrame({"path": paths, "label": labels[keep], "split": split, "role": "both"})
        )
        images.append(pixels[keep])
    frame = pd.concat(tables, ignore_index=True)
    return Source(frame, ArrayStore(frame["path"].tolist(), np.concatenate(images)))
