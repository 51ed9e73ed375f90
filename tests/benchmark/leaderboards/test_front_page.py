"""The front page: the matrix first, and whether an order of losses carries over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_leaderboard import record

from stt_bench.benchmark.config.table_sections import Varied
from stt_bench.benchmark.datasets import dataset_names
from stt_bench.benchmark.leaderboards.board import Leaderboard, build_leaderboard
from stt_bench.benchmark.leaderboards.carry_over import carry_over
from stt_bench.benchmark.leaderboards.comparisons import Pair
from stt_bench.benchmark.leaderboards.data_sources import ANY_DATA, PART_OF, data_sources
from stt_bench.benchmark.leaderboards.front_page import front_page
from stt_bench.benchmark.leaderboards.matrix import matrix
from stt_bench.benchmark.statistics.rank_correlation import half_correlation, rank_correlation
from stt_bench.benchmark.statistics.verdicts import Answer, Verdict
from stt_bench.benchmark.store.class_records import ClassRetrieval, ClassShare
from stt_bench.benchmark.store.protocol import fingerprint
from stt_bench.benchmark.store.records import Record

NAMES = [f"row{letter}" for letter in "abcdefgh"]


def of_protocol(made: Record, **protocol: Any) -> Record:
    changed = {**made.protocol, **protocol}
    return made.model_copy(
        update={"protocol": changed, "protocol_fingerprint": fingerprint(changed)}
    )


def board_of(
    table: str, means: dict[str, float], source: str = "digits", **protocol: Any
) -> Leaderboard:
    """A table of two seeds; each data source has other items unless the protocol says otherwise."""
    records = [
        of_protocol(record(name, seed, {"map@r": mean + seed / 1000}, **settings), **protocol)
        for protocol in [{"data": f"items of {source}"} | protocol]
        for name, mean in means.items()
        for settings in [{"data": {"name": source}, "loss": loss_of(name)}]
        for seed in range(2)
    ]
    return replace(build_leaderboard(table, records, []), table=table)


def loss_of(name: str) -> str:
    return "softmax" if name == "softmax" else "priming"


def with_class_values(board: Leaderboard, names: list[str], values: np.ndarray) -> Leaderboard:
    """The same with leave-class-out values (k, C) of the rows, sorted by name, for each seed."""
    places = {name: place for place, name in enumerate(sorted(row.name for row in board.rows))}
    records = [
        one.model_copy(update={"class_values": held(names, values[places[one.row]])})
        for one in board.records
    ]
    return replace(board, records=records)


def held(names: list[str], values: np.ndarray) -> ClassRetrieval:
    share = ClassShare(sums=values.tolist(), values=values.tolist())
    return ClassRetrieval(
        groups=names, counts=[1] * len(names), weighting="query", metrics={"map@r": share}
    )


def test_the_matrix_stands_first_and_says_what_was_not_run() -> None:
    one = board_of("t0", {"softmax": 0.3, "rowa": 0.5, "rowb": 0.4})
    two = board_of("t1", {"softmax": 0.3, "rowa": 0.5}, "sop")
    three = board_of("t2", {"softmax": 0.3, "rowa": 0.5, "rowb": 0.4}, "dogs")
    page = front_page([one, two, three], [], timing=False)
    parts = [
        "## What can be concluded",
        "## What cannot",
        "table by table",
        "## Each table",
        "| Table |",
    ]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    (line,) = [line for line in page.splitlines() if line.startswith("| rowb")]
    assert line.split(" | ")[2] == "not run"
    assert line.split(" | ")[4] == "+10.0"  # the mean of two sources has no interval
    assert line.endswith("| 2 of 2 |")
    (line,) = [line for line in page.splitlines() if line.startswith("| rowa")]
    assert line.split(" | ")[4] == "+20.0 ± 0.0"
    assert line.endswith("| 3 of 3 (p 0.25) |")
    assert "3 tables over 3 data sources. Rows of one name" in page
    assert "carry over" not in page  # three rows are too few
    told = "| one recipe for all rows, 2 seeds, cosine only, earlier code |"
    assert page.count(told) == 3  # made up without a probe and by one distance


def test_tables_that_classify_are_compared_by_accuracy_apart() -> None:
    scores = {"softmax": (0.3, 0.5), "rowa": (0.5, 0.9), "rowb": (0.4, 0.6)}
    boards = []
    for table in ("t0", "t1"):
        records = [
            record(name, seed, {"map@r": a + seed / 100, "accuracy": b + seed / 1000}, **settings)
            for name, (a, b) in scores.items()
            for settings in [{} if name == "softmax" else {"loss": "priming", "softmax_head": True}]
            for seed in range(2)
        ]
        boards.append(replace(build_leaderboard(table, records, []), table=table))
    retrieval = [board_of(table, {"softmax": 0.3, "rowa": 0.5}) for table in ("t2", "t3")]
    lines = matrix([boards[0], retrieval[0], boards[1], retrieval[1]])
    heads = [line for line in lines if line.startswith("## ")]
    assert heads == [
        "## MAP@R − best Softmax, table by table (retrieval)",
        "## Accuracy − best Softmax, table by table (classification)",
    ]
    rowa = [line.split(" | ") for line in lines if line.startswith("| rowa")]
    assert [cells[1][:5] for cells in rowa] == ["+20.0", "+40.0"]
    header = [line for line in lines if line.startswith("| Row |")]
    assert "[t2](t2.md) | [t3](t3.md)" in header[0]
    assert "[t0](t0.md) | [t1](t1.md)" in header[1]


def test_a_column_has_intervals_of_one_kind() -> None:
    new, these = (Answer(0.2, half, 5.0, 0.01, 0.01) for half in (0.125, 0.0625))
    both = Verdict(0.2, 3, new, these)
    one = Verdict(0.2, 3, None, these)
    boards = [board_of(table, {"softmax": 0.3, "rowa": 0.5, "rowb": 0.4}) for table in "tu"]
    pairs = [Pair(name, "softmax", "map@r") for name in ("rowa", "rowb")]
    for board, second in zip(boards, (both, one), strict=True):
        board.verdicts.update(zip(pairs, (both, second), strict=True))
    lines = matrix(boards)
    assert "| *± for new seeds and* | new classes | these classes |  |  |" in lines
    rows = [line.split(" | ")[1:3] for line in lines if line.startswith("| row")]
    assert rows == [["+20.0 ± 12.5 ▲", "+20.0 ± 6.2 ▲"], ["+20.0 ± 12.5 ▲", "+20.0 ± 6.2 △"]]


def test_what_can_be_concluded_and_what_cannot_stands_first() -> None:
    clear = board_of("clear", {"softmax": 0.3, "rowa": 0.5})
    level = board_of("level", {"softmax": 0.5, "rowa": 0.3, "rowb": 0.3})
    alone = board_of("alone", {"rowa": 0.5})
    page = front_page([clear, level, alone], [], timing=False)
    shown, _, rest = page.partition("## What cannot")
    rest = rest.partition("## Each table")[0]
    assert "new classes like those" not in shown
    assert (
        "not for new classes (△▽):\n\n- [T](clear.md): rowa leads by MAP@R with 50.0 %, 20.0"
        in (shown)
    )
    assert "(level.md): softmax leads by MAP@R with 50.0 %, 20.0 points above the next" in shown
    assert "- [T](alone.md): rowa is the only trained row that is ranked" in rest
    assert "- New classes: 3 of 3 tables hold no values of single classes" in rest
    assert "- Each loss at its best: in 3 of 3 tables the rows were not tuned" in rest
    one_seed = replace(
        build_leaderboard("t", [r for r in clear.records if r.seed == 0], []), table="one"
    )
    page = front_page([one_seed], [], timing=False)
    assert "- New classes: 1 of 1 table holds no values of single classes" in page
    assert "## What can be concluded" not in page
    assert "- [T](one.md): Nothing can be told apart yet by MAP@R: rowa has" in page


def test_the_order_of_two_backbones_is_compared_by_the_rows_both_have() -> None:
    x = np.array([1, 2, 3, 4, 5, 6, 7, 8]) / 10
    y = np.array([2, 1, 3, 4, 6, 5, 7, 8]) / 10
    one = board_of("lite0", dict(zip(NAMES, x, strict=True)) | {"softmax": 0.0}, backbone="lite")
    two = board_of("mobile", dict(zip(NAMES, y, strict=True)) | {"extra": 0.9}, backbone="mobile")
    other = board_of("other", dict(zip(NAMES, y, strict=True)), "sop")
    lines = carry_over([one, two, other], "map@r")
    expected = rank_correlation(x, y)
    assert expected is not None
    assert expected.tau == pytest.approx((26 - 2) / 28)  # two of 28 pairs are turned round
    low, high = expected.interval
    cell = f"0.86 ({low:.2f} to {high:.2f}), 8 rows"
    assert f"| lite0 | **{cell}** | {cell} |" in lines
    assert "| mobile |  | 1.00, 8 rows |" in lines
    told = "Between lite0 and mobile the order carries over on the same test classes: 93 % of the "
    assert any(told in line for line in lines)
    assert not any("lite0 and other" in line for line in lines)
    assert "| lite0 and mobile | 0.86 | – | – |" in lines  # records without values of classes


def test_an_order_that_may_be_chance_is_told_as_such() -> None:
    x, y = np.arange(8) / 10, np.array([3, 7, 0, 5, 1, 6, 2, 4]) / 10
    one = board_of("lite0", dict(zip(NAMES, x, strict=True)), backbone="lite")
    two = board_of("mobile", dict(zip(NAMES, y, strict=True)), backbone="mobile")
    lines = carry_over([one, two], "map@r")
    assert any("From lite0 and mobile it cannot be told that" in line for line in lines)
    assert carry_over([one], "map@r") == []


def test_of_rows_that_vary_made_the_one_at_the_tables_own_value_is_compared() -> None:
    rates = {"softmax": 0.3, "rowa_0.1": 0.4, "rowa_0.2": 0.6, "rowa_0.3": 0.7}
    boards = [board_of(table, rates) for table in ("t0", "t1")]
    for board in boards:
        board.rows[:] = [
            replace(row, varied=Varied(row="rowa", label="Row A", usual=row.name == "rowa_0.2"))
            if row.name.startswith("rowa")
            else row
            for row in board.rows
        ]
    assert "| up to 3 settings a row, 2 seeds" in front_page(boards, [], timing=False)
    boards.append(board_of("t2", {"softmax": 0.3, "rowa": 0.5}, "sop"))
    lines = [line for line in matrix(boards) if line.startswith("| R") and "t0" not in line]
    (line,) = lines
    assert [cell[:5] for cell in line.split(" | ")] == [
        "| Row A"[:5],
        *["+30.0"] * 2,
        "+20.0",
        "+25.0",  # of digits 30, of sop 20
        "2 of ",
    ]


def test_tables_of_one_source_count_once_in_the_mean_and_the_sign_test() -> None:
    """Points over Softmax 10, 20, 30 on CUB, −10 on digits, 5 and 15 on Omniglot: 20, −10, 10.

    Their mean is 6.67 and their standard deviation 15.28; t of two degrees of freedom 4.303.
    """
    drawn = [
        ("cub_a", "cub50", 0.4),
        ("cub_b", "cub50", 0.5),
        ("cub_c", "cub200", 0.6),
        ("digits", "digits", 0.2),
        ("mini", "omniglot_mini", 0.35),
        ("omniglot", "omniglot", 0.45),
    ]
    boards = [
        board_of(table, {"softmax": 0.3, "rowa": mean, "rowb": 0.4}, source)
        for table, source, mean in drawn
    ]
    page = "\n".join(matrix(boards))
    (line,) = [line for line in page.splitlines() if line.startswith("| rowa")]
    assert line.endswith("| +6.7 ± 37.9 | 2 of 3 (p 1) |")
    of_one = "cub_a, cub_b, cub_c; mini, omniglot"
    assert f"6 tables over 3 data sources. Of one source are: {of_one}." in page
    (line,) = [line for line in "\n".join(matrix(boards[:4])).splitlines() if "rowa" in line]
    assert line.endswith("| +5.0 | 1 of 2 |")


def test_what_is_of_one_source_is_told_by_items_dataset_and_test_classes() -> None:
    def sources(*boards: Leaderboard) -> list[int]:
        return data_sources(boards)

    rows = {"softmax": 0.3, "rowa": 0.5}
    one, other = board_of("a", rows, "cub50"), board_of("b", rows, "cub50", data="another split")
    sop, copied = board_of("c", rows, "sop"), board_of("d", rows, "images", data="items of sop")
    assert sources(one, sop, other, copied) == [0, 1, 0, 1]
    own = [
        with_class_values(board_of(table, rows, source, data=table), list(names), np.eye(2))
        for table, source, names in (
            ("e", "images", "xy"),
            ("f", "images", "yz"),
            ("g", "images", "vw"),
            ("h", "digits", "vw"),
        )
    ]
    assert sources(*own) == [0, 0, 2, 3]
    bridge = with_class_values(board_of("i", rows, "images", data="h"), list("zv"), np.eye(2))
    assert sources(*own, bridge) == [0, 0, 0, 0, 0]
    assert set(PART_OF) | set(PART_OF.values()) | ANY_DATA <= set(dataset_names())


def test_beside_tau_of_shared_classes_stands_that_of_disjoint_halves() -> None:
    rng = np.random.default_rng(0)
    shared, *own = rng.standard_normal((3, 8, 20))
    values = [0.5 + (shared + x) / 100 for x in own]
    classes = [f"class {c:02}" for c in range(20)]
    means = [dict(zip(NAMES, x.mean(axis=1), strict=True)) for x in values]
    one, two = (
        with_class_values(board_of(table, of, backbone=table), classes, x)
        for table, of, x in zip(("lite0", "mobile"), means, values, strict=True)
    )
    lines = carry_over([one, two], "map@r")
    halves = half_correlation(*values)
    assert halves is not None
    assert halves.disjoint < halves.same - 0.2
    tau = rank_correlation(*(x.mean(axis=1) for x in values))
    assert tau is not None
    expected = f"| lite0 and mobile | {tau.tau:.2f} | {halves.same:.2f} | {halves.disjoint:.2f} |"
    assert expected in lines
    assert f", {50 * (1 + halves.disjoint):.0f} % by disjoint halves of the classes." in lines[-1]
    assert "Tables that share" not in "\n".join(
        carry_over([one, board_of("other", means[1], "sop")], "map@r")
    )


def test_rows_that_may_not_be_judged_are_in_no_rank_correlation() -> None:
    means = dict(zip([*NAMES, "rowi"], np.arange(9) / 10, strict=True))
    one, two = board_of("t0", means), board_of("t1", means, "sop")
    assert "1.00, 9 rows" in "\n".join(carry_over([one, two], "map@r"))
    rows = [replace(r, named_seeds=(0, 1, 2)) if r.name == "rowi" else r for r in two.rows]
    two = replace(two, rows=rows)
    assert "1.00, 8 rows" in "\n".join(carry_over([one, two], "map@r"))
