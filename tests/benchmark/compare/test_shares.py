"""Into what the minutes go, held against the prices added up by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_bench.benchmark.compare.shares import Prices, Shape, shares
from stt_bench.benchmark.system.errors import BenchError

SHAPE = Shape(trained=8, untrained=2, folds=3, steps=300, every=50)
PRICES = Prices(prepare=60.0, step=0.002, validation=0.05, run=1.0)


def added_up(studies: int, trials: int, seeds: int, prices: Prices = PRICES) -> float:
    trial = 3 * 5 * (50 * prices.step + prices.validation)
    run = prices.run + 250 * prices.step
    tuned = 8 * (1 + studies * trials) * trial
    return prices.prepare + tuned + seeds * (8 * run + 2 * prices.run)


def test_the_parts_are_what_they_cost() -> None:
    found = shares(1800, PRICES, SHAPE)
    assert found.items == 1
    assert found.seconds == pytest.approx(added_up(found.studies, found.trials, found.seeds))
    assert found.seconds < 0.92 * 1800
    assert found.seeds % found.studies == 0


@given(st.floats(300, 30_000), st.floats(1e-4, 1e-2), st.floats(0.1, 5))
def test_never_more_than_there_is(seconds: float, step: float, run: float) -> None:
    prices = PRICES._replace(step=step, run=run)
    try:
        found = shares(seconds, prices, SHAPE)
    except BenchError:
        assert added_up(3, 2, 3, prices) > 0.92 * seconds or prices.prepare > 0.46 * seconds
        return
    assert found.seconds <= 0.92 * seconds * (1 + 1e-9)
    assert 2 <= found.trials <= 20
    assert 3 <= found.seeds <= 10
    assert found.studies == 3 or found.trials >= 12
    more = shares(2 * seconds, prices, SHAPE)
    assert more.studies * more.trials >= found.studies * found.trials or more.studies == 5


def test_too_short_says_how_long_it_takes() -> None:
    needed = added_up(3, 2, 3) / 0.92
    minutes = f"--minutes {int(needed // 60) + 1}"
    with pytest.raises(BenchError, match=rf"8 rows, .* {minutes}, or choose losses, such as"):
        shares(120, PRICES, SHAPE)
    with pytest.raises(BenchError, match=f"give {minutes}, or fewer --rows$"):
        shares(120, PRICES, SHAPE, chosen=True)
    with pytest.raises(BenchError, match=r": 1 row, .* give --minutes \d+$"):
        shares(60, PRICES, SHAPE._replace(trained=1), chosen=True)
    shares(60 * (needed // 60 + 1), PRICES, SHAPE)  # does


def test_more_minutes_than_may_be_given_are_not_advised() -> None:
    dear = PRICES._replace(run=30_000.0)
    few = r"--minutes 10,000 is the most: give a part of the data, or fewer --rows$"
    with pytest.raises(BenchError, match=few):
        shares(600_000, dear, SHAPE, chosen=True)
    with pytest.raises(BenchError, match=r"the most: give a part of the data$"):
        shares(60, dear._replace(run=300_000.0), SHAPE._replace(trained=1), chosen=True)


def test_where_the_images_take_too_long_only_some_are_taken() -> None:
    dear = PRICES._replace(prepare=6000.0)
    with pytest.raises(BenchError):
        shares(1800, dear, SHAPE)
    found = shares(1800, dear, SHAPE, fewest=0.01)
    assert 0.01 <= found.items < 0.15
    assert found.prepare == pytest.approx(6000 * found.items)
