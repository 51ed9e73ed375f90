"""Oxford 102 Flowers, read from the official MATLAB files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.archives import Archive, Download
from stt_bench.benchmark.datasets.catalog import Counts, Source, register_dataset
from stt_bench.benchmark.datasets.sources.official import in_first_half, read_mat, subfolder
from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.system.errors import BenchError

_SPLITS = {"trnid": "train", "valid": "train", "tstid": "test"}


_ADDRESS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_DOWNLOAD = Download(
    Archive(f"{_ADDRESS}102flowers.tgz", "md5:52808999861908f626f3c1f4e79d11fa", "flowers-102"),
    Archive(f"{_ADDRESS}imagelabels.mat", "md5:e0620be6f572b9609742df49c70aed4d", "flowers-102"),
    Archive(f"{_ADDRESS}setid.mat", "md5:a5357ecc9cb78c4bef273ce3793fc85c", "flowers-102"),
)


@register_dataset(
    "flowers102",
    folder="flowers102",
    also=("flowers-102",),
    counts={
        "retrieval": Counts(train=3_493, test=4_696, train_classes=51, test_classes=51),
        "classification": Counts(train=2_040, test=6_149, train_classes=102, test_classes=102),
    },
    get="put imagelabels.mat, setid.mat and, unpacked, 102flowers.tgz from "
    "https://www.robots.ox.ac.uk/~vgg/data/flowers/102 into data/flowers102",
    download=_DOWNLOAD,
)
def flowers102(root: Path, task: Task) -> Source:
    """8,189 photographs of 102 kinds of flowers (Oxford 102 Flowers).

    Classification has the official split, train and validation together: 20 images a class. For
    retrieval there is no official split; ours trains on classes 1–51 and tests on 52–102, with all
    images of a class. The official files have no names, so a label is the class number.
    """
    folder = subfolder(root, "flowers-102")
    numbers = read_mat(folder / "imagelabels.mat", {"labels": int})["labels"]
    sets = read_mat(folder / "setid.mat", dict.fromkeys(_SPLITS, int))
    rows = []
    for name, split in _SPLITS.items():
        for image in sets[name]:
            if not 1 <= image <= len(numbers):
                raise BenchError(
                    f"{folder / 'setid.mat'}: {name} has image {image}, but imagelabels.mat has "
                    f"{len(numbers)} labels: get both again"
                )
            label = f"{numbers[image - 1]:03}"
            rows.append((f"jpg/image_{image:05}.jpg", label, split, "both"))
    frame = pd.DataFrame(rows, columns=["path", "label", "split", "role"])
    if task == "retrieval":
        frame = frame.sort_values("path", ignore_index=True)
        frame["split"] = in_first_half(frame["label"]).map({True: "train", False: "test"})
    return Source(frame, FileStore(folder))
