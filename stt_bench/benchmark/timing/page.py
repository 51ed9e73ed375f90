"""The page of a timing: ``timing.md``, ``timing.png`` and ``timing/timing.json``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stt_bench.benchmark.system.files import check_not_newer, read_model, write_json
from stt_bench.benchmark.system.outputs import check_output, write_page
from stt_bench.benchmark.system.png import add_legend, drawn_figure, label
from stt_bench.benchmark.system.text import code_block, escape_markdown, table_line
from stt_bench.benchmark.timing.results import Ratio, Timing, Variant, paired_ratio
from stt_bench.benchmark.timing.stopwatch import CLASSES, EMBEDDING_DIM, SOFTMAX, K

PUBLISHED = """\
| Backbone | Softmax | + Center | + Semi-hard | + Hard |
| --- | ---: | ---: | ---: | ---: |
| *ResNet-50* | *0.166* | *0.170 (+2.6 %)* | *0.167 (+0.8 %)* | *0.187 (+12.9 %)* |
| *Inception-V4* | *0.301* | *0.304 (+1.0 %)* | *0.309 (+2.4 %)* | *0.337 (+11.9 %)* |
| *DenseNet-161* | *0.461* | *0.457 (−0.9 %)* | *0.460 (−0.3 %)* | *0.509 (+10.2 %)* |"""

_COLOURS = ("#c0504d", "#1f4e79", "#5b9bd5", "#2e7d32", "#8064a2", "#f79646", "#7f7f7f", "#4bacc6")


def check_timing(results: Path, *, force: bool = False) -> None:
    """Refuse to write the page and the figure over files that are not ours, or of a newer version.

    ``force`` writes over all of them.
    """
    file = results / "timing" / "timing.json"
    if not force:
        check_not_newer(lambda: read_model(file, Timing, "a timing", "measure again"))
    for name in ("timing.md", "timing.png"):
        check_output(results / name, force=force)


def write_timing(timing: Timing, results: Path) -> Path:
    """Write the measurements, the page and the figure; return the page."""
    page = results / "timing.md"
    write_json(results / "timing" / "timing.json", timing.model_dump())
    draw_timing(timing, results / "timing.png")
    write_page(page, markdown(timing))
    return page


def markdown(timing: Timing) -> str:
    """Return the page."""
    lines = [
        "# What the second head costs",
        "",
        "Seconds of a batch: Softmax alone, and Softmax with each loss on a second head (one "
        f"linear layer to {EMBEDDING_DIM} coordinates).",
        "",
        "| Backbone | Loss | Training step, s | ÷ Softmax (95 %) | Inference, s | "
        "÷ Softmax (95 %) | Peak memory, MiB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for part in timing.backbones:
        softmax = part.variants[0]
        for variant in part.variants:
            cells = [escape_markdown(part.backbone), escape_markdown(variant_name(variant))]
            for times, baseline in (
                (variant.train_seconds, softmax.train_seconds),
                (variant.inference_seconds, softmax.inference_seconds),
            ):
                alone = variant is softmax
                ratio = "–" if alone else ratio_text(paired_ratio(times, baseline))
                cells += [f"{np.median(times):.4f}", ratio]
            peak = variant.peak_memory_mib
            cells.append("not measured" if peak is None else f"{peak:,.0f}")
            lines.append(table_line(cells))
    lines += [
        "",
        f"- Batch of {timing.batch} random images of {timing.size} px ({timing.batch // K} classes "
        f"× {K} images, of {CLASSES} classes), random weights, float32, everything trains. Reading "
        "images is not in the times; inference gives embeddings and class scores.",
        f"- Median of {timing.steps} rounds. In each round all variants of a backbone take one "
        "training step and one inference, in random order. ÷ Softmax: geometric mean over the "
        "rounds of the ratio to Softmax of the same round, with Student's 95 % interval of the "
        "logarithms.",
        "- Peak memory: of two training steps in a process of their own; on a CPU the growth of "
        "its resident memory, on a GPU what PyTorch allocated.",
        f"- Ran on: {escape_markdown(timing.device)}, {timing.threads} thread(s), PyTorch "
        f"{escape_markdown(timing.versions.get('torch', '?'))}. All single measurements and "
        "versions are in [timing/timing.json](timing/timing.json).",
        "",
        *code_block([timing.command]),
        "",
        "![Seconds of a training step](timing.png)",
        "",
        "## Published numbers",
        "",
        "Batch time in seconds on Flowers-102 from another machine and program, for comparison of "
        "the ratios only: arXiv:1901.08616, Figure 12, read off pixels (±0.004 s).",
        "",
        PUBLISHED,
        "",
    ]
    return "\n".join(lines)


def variant_name(variant: Variant) -> str:
    """Return a variant's losses."""
    return SOFTMAX if variant.loss == SOFTMAX else f"{SOFTMAX} + {variant.loss}"


def ratio_text(ratio: Ratio) -> str:
    """Return a ratio with its interval."""
    return f"{ratio.mean:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def draw_timing(timing: Timing, path: Path) -> None:
    """Draw the seconds of a training step as bars, a group a backbone, as the source's Figure 12.

    Above a bar: how much more than Softmax.
    """
    number = len(timing.backbones[0].variants)
    width = 0.8 / number
    with drawn_figure(path, 2.0 + 0.75 * number * len(timing.backbones), 4.2) as figure:
        axis = figure.subplots()
        entries = []
        for group, part in enumerate(timing.backbones):
            softmax = part.variants[0]
            for index, variant in enumerate(part.variants):
                bar = axis.bar(
                    group + (index - (number - 1) / 2) * width,
                    np.median(variant.train_seconds),
                    0.92 * width,
                    color=_COLOURS[index % len(_COLOURS)],
                )
                if group == 0:
                    entries.append((bar, variant_name(variant)))
                if variant is not softmax:
                    extra = paired_ratio(variant.train_seconds, softmax.train_seconds).mean - 1
                    axis.bar_label(bar, [f"{100 * extra:+.1f} %"], fontsize=7, padding=2)
        names = [label(part.backbone) for part in timing.backbones]
        axis.set_xticks(range(len(names)), names, parse_math=False)
        axis.set_ylabel(f"training step of {timing.batch} images, s")
        axis.grid(axis="y", color="0.9")
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        columns = min(number, 4)
        add_legend(
            figure, entries, loc="outside upper center", ncols=columns, fontsize=8, frameon=False
        )
