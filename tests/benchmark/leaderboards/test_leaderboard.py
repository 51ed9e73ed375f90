"""What a leaderboard says of the difference to Softmax, and which rows it compares."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from rich.console import Console
from scipy import stats

from stt_bench.benchmark.cli.screen import screen_table
from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table_sections import FigureConfig
from stt_bench.benchmark.leaderboards.board import build_leaderboard
from stt_bench.benchmark.leaderboards.figures import draw_curves, draw_leaderboard, drawn_rows
from stt_bench.benchmark.leaderboards.front_page import front_page
from stt_bench.benchmark.leaderboards.markdown import markdown
from stt_bench.benchmark.leaderboards.published import Published
from stt_bench.benchmark.leaderboards.published_numbers import markdown_of_published
from stt_bench.benchmark.leaderboards.scores import Score
from stt_bench.benchmark.store.display import Display
from stt_bench.benchmark.store.facts import Training
from stt_bench.benchmark.store.protocol import fingerprint
from stt_bench.benchmark.store.records import Record

TRAINING = Training(
    seconds=1.0,
    images_per_second=1.0,
    peak_memory_mib=1.0,
    trained_parameters=1,
    collapsed_at=None,
    device="cpu",
    threads=1,
)


def record(row: str, seed: int, metrics: dict[str, float], **settings: Any) -> Record:
    settings = {"data": {"name": "digits"}, "loss": "softmax", **settings}
    experiment = Experiment.model_validate(settings)
    protocol = {"data": "d", "embedding_dim": experiment.model.embedding_dim}
    return Record(
        table="t",
        row=row,
        seed=seed,
        display=Display(label=row, title="T", description="", order=len(row)),
        metrics={"queries": 10.0, **metrics},
        experiment=experiment,
        config_digest=experiment.digest(),
        protocol=protocol,
        protocol_fingerprint=fingerprint(protocol),
        data_hash="d",
        checkpoint_sha256=f"{row} {seed}",
        embeddings_sha256="e",
        training=TRAINING,
        versions={"torch": "2"},
    )


@pytest.mark.parametrize(
    "values", [[0.01, 0.02, 0.03], [-0.01, 0.02, 0.03], [-0.011, -0.01, -0.012, -0.01], [0.1, 0.0]]
)
def test_the_verdict_is_that_of_a_t_test(values: list[float]) -> None:
    mean = sum(values) / len(values)
    std = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    significant = stats.ttest_1samp(values, 0.0).pvalue < 0.05
    expected = ("▲" if mean > 0 else "▼") if significant else "≈"
    assert Score(mean, std, len(values)).verdict == expected


def test_one_seed_gives_no_verdict_and_equal_seeds_give_one() -> None:
    assert Score(0.5, None).verdict == ""
    assert Score(0.5, 0.0, 3).verdict == "▲"
    assert Score(0.0, 0.0, 3).verdict == "≈"


def test_accuracy_is_compared_across_embedding_sizes_and_retrieval_is_not() -> None:
    wide = {"loss": "softmax", "model": {"embedding_dim": 128}}
    two_head = {"loss": "hard_triplet", "softmax_head": True, "model": {"embedding_dim": 32}}
    alone = {"loss": "hard_triplet", "model": {"embedding_dim": 32}}
    records = [
        *(record("s", n, {"map@r": 0.5, "accuracy": 0.60 + 0.01 * n}, **wide) for n in range(3)),
        *(
            record("tt", n, {"map@r": 0.4, "accuracy": 0.65 + 0.01 * n}, **two_head)
            for n in (0, 1, 2)
        ),
        *(record("aaa", n, {"map@r": 0.3}, **alone) for n in range(3)),
    ]
    board = build_leaderboard("t", records, [])
    softmax, two, one = board.rows
    assert board.leads == ["map@r", "accuracy"]
    assert (board.best("map@r"), board.best("accuracy")) == ({"tt"}, {"tt"})
    assert board.baseline(two, "map@r").row is None
    assert board.best_softmax(two, "map@r") is None
    assert board.baseline(two, "accuracy").row is softmax
    assert board.best_softmax(two, "accuracy") is softmax
    gain = board.difference(two, "accuracy")
    assert gain is not None
    assert (gain.mean, gain.half_width) == pytest.approx((0.05, 0.0), abs=1e-12)
    assert board.difference(one, "accuracy") is None
    text = markdown(board)
    assert "† s is of another protocol and not ranked but in Accuracy: embedding size 128" in text
    assert "+5.0 ± 0.0 △ | +5.0 ± 0.0 △ | s |" in text


def test_softmax_of_the_same_learning_rate_is_the_rival() -> None:
    records = [
        record(f"{loss}{lr}", 0, {"map@r": value}, loss=loss, optimizer={"lr": lr})
        for loss, lr, value in [
            ("softmax", 0.1, 0.9),
            ("softmax", 0.2, 0.5),
            ("priming", 0.1, 0.8),
            ("priming", 0.2, 0.6),
        ]
    ]
    board = build_leaderboard("t", records, [])
    gains = {row.name: board.difference(row, "map@r") for row in board.rows}
    assert gains["softmax0.1"] is None
    assert gains["priming0.1"].mean == pytest.approx(-0.1)
    assert gains["priming0.2"].mean == pytest.approx(0.1)
    best = board.best_softmax(board.rows[3], "map@r")
    assert best is board.rows[0]
    against_best = board.verdict(board.rows[3], best, "map@r")
    assert (against_best.mean, against_best.mark) == (pytest.approx(-0.3), "")


def test_curves_are_the_rows_means_over_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [
        record(f"{loss}{lr}", seed, {"map@r": lr + seed / 10}, loss=loss, optimizer={"lr": lr})
        for loss in ("softmax", "priming")
        for lr in (0.1, 0.3)
        for seed in (0, 1)
    ]
    board = build_leaderboard("t", records, [])
    config = FigureConfig(x="optimizer.lr", panels="sampler.name")
    draw_curves(board, config, tmp_path / "a.png")
    draw_curves(board, config, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    made: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: made.append(figure))
    draw_curves(board, config, tmp_path / "c.png")
    axis = made[0].axes[0]
    assert axis.get_title() == "sampler 8×4"
    assert axis.get_xscale() == "log"
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0.1", "0.3"]
    assert not len(axis.get_xticks(minor=True))
    drawn = [tuple(map(tuple, container[0].get_data())) for container in axis.containers]
    assert drawn == [((0.1, 0.3), pytest.approx((15.0, 35.0)))] * 2
    assert [text.get_text() for text in made[0].legends[0].get_texts()] == ["softmax", "priming"]


def test_a_row_whose_phases_end_in_softmax_is_no_baseline() -> None:
    phased = {"loss": "softmax", "phases": [{"steps": 9, "loss": "priming"}]}
    records = [
        record("a", 0, {"map@r": 0.9}, **phased),
        record("bb", 0, {"map@r": 0.5}, loss="softmax"),
        record("ccc", 0, {"map@r": 0.6}, loss="priming"),
    ]
    board = build_leaderboard("t", records, [])
    assert [row.name for row in board.rows] == ["bb", "a", "ccc"]
    gains = {row.name: board.difference(row, "map@r") for row in board.rows}
    assert gains["bb"] is None
    assert gains["a"].mean == pytest.approx(0.4)
    assert gains["ccc"].mean == pytest.approx(0.1)


def test_a_figure_whose_rows_have_no_records_yet_is_left_out() -> None:
    rows = [record("a", 0, {"map@r": 0.9}, loss="softmax")]
    board = build_leaderboard("t", rows, [])
    for config in (
        FigureConfig(x="loss_weight", rows=["later"]),
        FigureConfig(x="loss.margin"),
        FigureConfig(x="loss.name"),
    ):
        assert drawn_rows(board, config) == []
        assert "curves" not in markdown(replace(board, figure=config))


def test_a_figure_over_a_setting_of_training_leaves_untrained_rows_out() -> None:
    rows = [
        record("a", 0, {"map@r": 0.9}, loss="softmax", train={"steps": 0}),
        record("b", 0, {"map@r": 0.9}, loss="softmax"),
    ]
    drawn = drawn_rows(build_leaderboard("t", rows, []), FigureConfig(x="optimizer.lr"))
    assert [row.name for row in drawn] == ["b"]


def test_a_page_takes_title_and_data_from_its_trained_rows() -> None:
    old = record("zzz", 0, {"map@r": 0.5}, loss="lifted")
    old = old.model_copy(update={"display": old.display.model_copy(update={"title": "Old"})})
    untrained = record("a", 0, {"map@r": 0.9}, loss="softmax", train={"steps": 0})
    other = {**untrained.protocol, "data": "0" * 64}
    untrained = untrained.model_copy(
        update={"protocol": other, "protocol_fingerprint": fingerprint(other)}
    )
    board = build_leaderboard("t", [untrained, record("bb", 0, {"map@r": 0.1}, loss="softmax")], [])
    assert board.marks(board.rows[0]) == "†"  # one vote each, but the untrained has none
    assert "data d." in markdown(board)
    assert f"data {'0' * 16} (others: d)" in markdown(board)
    with_old = [record("a", 0, {"map@r": 0.1}), record("bb", 0, {"map@r": 0.1}), old]
    assert build_leaderboard("t", with_old, []).title == "T"


def lines_of(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith("| ")]


def test_all_that_tie_for_best_are_bold() -> None:
    halves = {0: 0.5, 1: 0.25, 2: 0.75}
    records = [
        *(record("a", seed, {"map@r": halves[seed]}) for seed in range(3)),
        *(record("bb", seed, {"map@r": halves[2 - seed]}, loss="priming") for seed in range(3)),
        *(record("ccc", seed, {"map@r": 0.4999}, loss="lifted") for seed in range(3)),
    ]
    board = build_leaderboard("t", records, [])
    assert board.best("map@r") == {"a", "bb"}
    assert board.best("recall@1") == set()
    bold = [line.split(" | ")[0] for line in lines_of(markdown(board)) if "**" in line]
    assert bold == ["| a", "| bb"] * 2  # in the short table and in that of all metrics
    page = front_page([board], [], timing=False)
    assert "| a; bb | MAP@R | 50.0 ± 25.0 | 50.0 ± 25.0 |" in page
    console = Console(
        force_terminal=True, color_system="truecolor", width=100, legacy_windows=False
    )
    with console.capture() as printed:
        console.print(screen_table(board))
    bold = [line for line in printed.get().splitlines() if re.search(r"\x1b\[1[;m\d]*m50\.0", line)]
    assert len(bold) == 2


def test_a_row_whose_loss_never_had_a_term_is_marked_and_not_ranked() -> None:
    def inactive(seed: int, inactive: bool) -> Record:
        made = record("ccc", seed, {"map@r": 0.9}, loss="hard_triplet")
        return made.model_copy(
            update={"training": TRAINING.model_copy(update={"inactive": inactive})}
        )

    records = [
        *(record("a", seed, {"map@r": 0.5}) for seed in range(2)),
        *(record("bb", seed, {"map@r": 0.6}, loss="lifted") for seed in range(2)),
        *(inactive(seed, seed == 1) for seed in range(2)),
    ]
    board = build_leaderboard("t", records, [])
    assert [board.marks(row) for row in board.rows] == ["", "", "§"]
    assert board.best("map@r") == {"bb"}
    assert board.difference(board.rows[2], "map@r") is None
    page = markdown(board)
    assert "- § ccc: in 1 of 2 runs no batch held a pair or triplet" in page
    assert "**90.0" not in page
    console = Console(width=100)
    with console.capture() as printed:
        console.print(screen_table(board))
    assert "ccc §" in printed.get()
    assert "§ its loss had nothing to learn from" in " ".join(printed.get().split())
    assert "†" not in printed.get()
    active = build_leaderboard("t", [inactive(0, False), *records[:4]], [])
    assert "§" not in markdown(active)
    assert active.best("map@r") == {"ccc"}


OUR_HTML = r"<details><summary>[A-Za-z, ]+</summary>\n|</details>\n"
HOSTILE = "a|b\n![x](http://e) <script>x</script> $y$ `z` [k](javascript:1)"


def test_nothing_of_a_record_becomes_markup() -> None:
    made = record("a", 0, {"map@r": 0.5}, loss="softmax")
    display = made.display.model_copy(
        update={
            "label": HOSTILE,
            "title": HOSTILE,
            "description": f"{HOSTILE}\n\n- {HOSTILE}",
            "command": f"x\n```\n{HOSTILE}",
            "figure": FigureConfig(x="optimizer.lr"),
        }
    )
    training = made.training.model_copy(update={"device": HOSTILE, "collapsed_at": 1})
    other = record("bb", 0, {"map@r": 0.4}, loss="priming")
    protocol = {**other.protocol, HOSTILE: HOSTILE}
    records = [
        made.model_copy(update={"display": display, "training": training}),
        other.model_copy(
            update={
                "protocol": protocol,
                "protocol_fingerprint": fingerprint(protocol),
                "versions": {"torch": HOSTILE},
                "display": display,
            }
        ),
    ]
    numbers = [Published("a", metric, HOSTILE, HOSTILE, HOSTILE) for metric in ("map@r", HOSTILE)]
    board = build_leaderboard("t", records, numbers)
    pages = {
        markdown(board): {"t.png", "t_curves.png", "records/t"},
        markdown_of_published("t", numbers): set(),
        front_page([board], ["u"], timing=True): {"t.md", "u.md", "timing.md", "records"},
    }
    plain = " ".join(HOSTILE.split())
    for page, links in pages.items():
        tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(page)
        inside = [child for token in tokens for child in token.children or []]
        html = [token.content for token in [*tokens, *inside] if token.type.startswith("html")]
        assert all(re.fullmatch(OUR_HTML, content) for content in html)
        targets = {child.attrs.get("href") or child.attrs.get("src") for child in inside}
        assert targets - {None} == links
        text = "".join(child.content for child in inside if child.type.startswith("text"))
        assert plain in text
        code = [child.content for child in inside if child.type == "code_inline"]
        assert all(re.fullmatch(r"stt-bench report( --\w+)?", one) for one in code)


def test_the_screen_shows_text_and_obeys_none_of_it() -> None:
    odd = record("a", 0, {"map@r": 0.5})
    display = odd.display.model_copy(
        update={"label": "[red]a[/x]\x1b[2J\\", "title": "[b]\x1b]0;t\x07"}
    )
    board = build_leaderboard("t", [odd.model_copy(update={"display": display})], [])
    console = Console(width=100)
    with console.capture() as printed:
        console.print(screen_table(board))
    assert "[red]a[/x][2J\\" in printed.get()
    assert "[b]]0;t" in printed.get()
    assert "\x1b" not in printed.get()


def test_labels_of_any_length_stand_whole_beside_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = ["_a", "$b$", "Ein sehr langes Etikett " * 9, "W" * 99]
    records = []
    for number, text in enumerate(labels):
        made = record("a" * (number + 1), 0, {"map@r": 0.5, "recall@1": 0.6})
        display = made.display.model_copy(update={"label": text})
        records.append(made.model_copy(update={"display": display}))
    made_figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: made_figures.append(figure))
    draw_leaderboard(build_leaderboard("t", records, []), tmp_path / "t.png")
    (figure,) = made_figures
    figure.draw_without_rendering()
    drawn = figure.axes[0].get_yticklabels()
    assert [text.get_text()[:59] for text in drawn] == [label[:59] for label in labels[::-1]]
    assert not any(text.get_parse_math() for text in drawn)
    assert min(text.get_window_extent().x0 for text in drawn) >= -1
    assert min(axis.get_window_extent().width for axis in figure.axes) > 100
