"""Embedding images of no dataset with a trained run, prepared as the run's test images are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stt_bench.benchmark.datasets.csv_lists import Columns
from stt_bench.benchmark.datasets.image_set import ImageSet
from stt_bench.benchmark.datasets.loose import loose_images
from stt_bench.benchmark.embedding.embed import (
    check_takes_images,
    checked_facts,
    current_set,
    embed_split,
)
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.outputs import check_output
from stt_bench.benchmark.system.progress import Reporter


def embed_images(
    run: Run,
    reporter: Reporter,
    *,
    images: Path,
    folder: Path,
    columns: Columns | None = None,
    force: bool = False,
) -> Path:
    """Embed a folder of images, or a csv list of them, into a folder; return that folder.

    The ids of the embedding set are the images' paths; the labels are those of the csv, whose
    columns `columns` names where their names do not say it, or the class folders. All images are
    read once before the network sees any. A set that was made by the same weights from the same
    images is left as it is.

    Raises:
        BenchError: the run is of vectors or not trained to its end, an image cannot be read, or the
            folder holds other files (``force`` writes all the same, but over no list of the
            images).
    """
    check_takes_images(run)
    for name in ("embeddings.npy", "items.csv", "logits.npy", "meta.json"):
        check_output(folder / name, inputs=[images], force=True)
    facts, items = checked_facts(run), loose_images(images, columns)
    for note in items.notes:
        reporter.once(f"note: {note}")
    items = replace(items, bits=facts.pixel_bits or items.bits)
    if not force and current_set(folder, run, facts, items) is not None:
        return folder
    if not force and folder.exists() and any(folder.iterdir()):
        raise BenchError(
            f"{folder} holds other files or embeddings: name another folder, or add --force to "
            "write into it"
        )
    readable = ImageSet(items, items.split("test"), run.experiment.input)
    with reporter.bar(f"{images}: check images", len(readable)) as bar:
        readable.check(lambda done, _total: bar.to(done))
    embed_split(run, facts, items, reporter, folder=folder, force=True)
    return folder
