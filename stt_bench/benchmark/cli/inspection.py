"""The commands that look at a trained run, and the one that measures costs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from stt_bench.benchmark.cli.options import (
    STOPPED,
    OverwriteOption,
    QuietOption,
    RunArgument,
    SplitOption,
    folder_option,
    names_in,
)
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.signals import Stopped

ImageArgument = Annotated[
    str, typer.Argument(help="An image file, or the id of an item (the first column of items.csv).")
]
PictureOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE.png", help="The picture; in the run's folder if absent."),
]


def neighbors(
    run: RunArgument,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Image files, or ids of items.")
    ],
    k: Annotated[int, typer.Option("--k", help="Answers for each image.", min=1)] = 10,
    split: SplitOption = "test",
    to: PictureOption = None,
    force: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the nearest items of images: a table, and a picture of them.

    - `stt-bench neighbors runs/cub50_retrieval/softmax/seed-0 my-bird.jpg`
    - `stt-bench neighbors runs/fashion_mnist/softmax/seed-0 test/00000 test/00001 --k 5`
    """
    picture = _png(to) or run / "neighbors.png"

    from stt_bench.benchmark.inspection.neighbors import find_neighbors
    from stt_bench.benchmark.store.runs import open_run
    from stt_bench.benchmark.system.outputs import check_output
    from stt_bench.benchmark.system.progress import Reporter
    from stt_bench.benchmark.system.text import decimals, one_line

    check_output(picture, inputs=images, force=force or to is None)
    reporter = Reporter(quiet=quiet)
    found = find_neighbors(open_run(run), images, reporter, k=k, split=split, to=picture)
    for column in ("query", "id", "label"):
        found[column] = found[column].map(one_line)
    print(found.to_string(index=False, float_format=partial(decimals, digits=4)))
    print(picture)


def distance(run: RunArgument, first: ImageArgument, second: ImageArgument) -> None:
    """Print the distances of two images' embeddings, and the length of each embedding.

    - `stt-bench distance runs/fashion_mnist/softmax/seed-0 test/00000 shoe.png`
    """
    from stt_bench.benchmark.inspection.two_images import distances_of_two
    from stt_bench.benchmark.store.runs import open_run
    from stt_bench.benchmark.system.files import finite

    print(json.dumps(finite(distances_of_two(open_run(run), first, second)), indent=2))


def draw_map(
    run: RunArgument,
    method: Annotated[
        Literal["tsne", "umap", "pca"], typer.Option(help="`umap` needs the extra `[umap]`.")
    ] = "tsne",
    split: SplitOption = "test",
    sample: Annotated[
        int, typer.Option(help="Items at most, drawn uniformly from the split.", min=1)
    ] = 5000,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Also draw a map of the images themselves.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the sample and the method.", min=0)] = 0,
    to: PictureOption = None,
    force: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw a 2-D map of a run's embeddings; also write TensorBoard's projector files.

    Look at the latter with `tensorboard --logdir RUN/projector`.

    - `stt-bench map runs/fashion_mnist/softmax/seed-0`
    - `stt-bench map runs/cub50_retrieval/softmax/seed-0 --method pca --thumbnails`
    """
    picture = _png(to)

    from stt_bench.benchmark.inspection import maps
    from stt_bench.benchmark.store.runs import open_run
    from stt_bench.benchmark.system.progress import Reporter

    written = maps.draw_map(
        open_run(run),
        Reporter(quiet=quiet),
        method=method,
        split=split,
        sample=sample,
        with_thumbnails=thumbnails,
        seed=seed,
        to=picture,
        force=force,
    )
    for path in written:
        print(path)


def timing(
    backbones: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="See `stt-bench list backbones`.")
    ] = "resnet50, mobilenet_v3_large",
    losses: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="Losses of the second head.")
    ] = "center, semi_hard_triplet, hard_triplet",
    batch: Annotated[int, typer.Option(help="Images a batch.", min=1)] = 32,
    size: Annotated[int, typer.Option(help="Side of the images, pixels.", min=1)] = 128,
    steps: Annotated[int, typer.Option(help="Rounds that are counted.", min=2)] = 20,
    device: Annotated[str, typer.Option(help="`auto`, `cpu`, `cuda` or `cuda:N`.")] = "auto",
    memory: Annotated[bool, typer.Option(help="Measure peak memory too.")] = True,
    to: Annotated[Path, folder_option("--to", help="Folder of the page.")] = Path("results"),
    force: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure what a second head costs: step time, inference time and memory beside Softmax.

    The default takes over ten minutes on two CPU cores, the first example one or two.

    - `stt-bench timing --backbones mobilenet_v3_large --losses hard_triplet`
    - `stt-bench timing --backbones resnet50,timm/inception_v4,densenet161 --size 224 --steps 50`
    """
    from stt_bench.benchmark.system.folders import check_writable
    from stt_bench.benchmark.system.progress import Reporter
    from stt_bench.benchmark.timing.measure import measure
    from stt_bench.benchmark.timing.page import check_timing, write_timing

    check_timing(to, force=force)
    check_writable(to, "--to")
    try:
        measured = measure(
            names_in("--backbones", backbones),
            names_in("--losses", losses),
            Reporter(quiet=quiet),
            batch=batch,
            size=size,
            steps=steps,
            device=device,
            memory=memory,
        )
    except (KeyboardInterrupt, Stopped):
        print("stopped: nothing was written; the same command starts again", file=sys.stderr)
        raise typer.Exit(STOPPED) from None
    print(write_timing(measured, to))


def _png(path: Path | None) -> Path | None:
    if path is not None and path.suffix != ".png":
        raise BenchError(f"--to {path}: the picture is a PNG; name it {path.stem}.png")
    return path


TOOLS: dict[str, Callable[..., None]] = {
    "neighbors": neighbors,
    "distance": distance,
    "map": draw_map,
    "timing": timing,
}
