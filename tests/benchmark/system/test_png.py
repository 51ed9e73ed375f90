"""Figures: texts of others are drawn as they are and whole, and no setting changes the bytes."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from stt_bench.benchmark.inspection.maps import draw_points
from stt_bench.benchmark.system.png import add_legend, drawn_figure, title

NAMES = ["_hidden", "$x^2$", "a_b", "\\frac", "50 % & <b>", "$", "鳥", "two\nlines", "w" * 300]


def draw(path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(len(NAMES) * 3, 2))
    draw_points(points, np.repeat(NAMES, 3), f"{'table' * 30}/{'row-' * 30}/seed-0, $t$-SNE", path)


def test_every_text_is_drawn_as_it_is_and_inside_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (figures.append(f), save(f, *a, **k)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(tmp_path / "map.png")
    (figure,) = figures
    with warnings.catch_warnings(action="ignore"):
        figure.draw_without_rendering()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    shown = [" ".join(name.split()) for name in sorted(NAMES)]
    assert [text.rstrip("…") for text in legend] == [name[:39] for name in shown]
    (heading,) = figure.texts
    assert heading.get_text().replace("\n", "").replace(" ", "").endswith("$t$-SNE")
    assert not any(text.get_parse_math() for text in [heading, *figure.legends[0].get_texts()])
    for text in [heading, *figure.legends[0].get_texts()]:
        box = text.get_window_extent()
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= figure.bbox.width + 1
        assert box.y1 <= figure.bbox.height + 1


def test_settings_of_the_machine_change_no_byte(tmp_path: Path) -> None:
    draw(tmp_path / "own.png")
    theirs = {"font.size": 30, "figure.facecolor": "red", "text.usetex": True, "savefig.dpi": 10}
    with matplotlib.rc_context(theirs):
        draw(tmp_path / "theirs.png")
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "theirs.png").read_bytes()


def test_a_drawing_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), drawn_figure(tmp_path / "x.png", 2, 2):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_title_has_the_lines_that_its_width_asks_for(tmp_path: Path) -> None:
    text = title("cub50_retrieval/softmax/seed-0: nearest of test", 2.4, 9)
    assert text.replace("\n", " ").replace("- ", "-") == text.replace("\n", " ")
    with drawn_figure(tmp_path / "x.png", 2.4, 2) as figure:
        drawn = figure.suptitle(text, fontsize=9)
        dot = figure.subplots().scatter([], [])
        add_legend(figure, [(dot, "_a")], loc="outside right upper")
    assert drawn.get_window_extent().width <= 2.4 * 100
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size == (288, 240)
