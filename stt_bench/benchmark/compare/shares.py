"""How the minutes are spent: a pure function of what things cost."""

from __future__ import annotations

from typing import NamedTuple

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import duration
from stt_bench.benchmark.system.text import counted

STUDIES, MORE_STUDIES = 3, 5
TRIALS, ENOUGH, MOST_TRIALS = 2, 12, 20  # of a study: at least; so that it may be five; at most
SEEDS, MOST_SEEDS = 3, 10
LONGEST = 10_000  # minutes that may be given

_VALIDATIONS = 5  # until a trial stops, about
_RESERVE = 0.92  # of the minutes: the rest is for what takes longer than it was measured
_TO_RUN = 0.4  # of the time that is left for tuning and running
_FACTORS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.09, 0.06, 0.04, 0.03, 0.02, 0.01)


class Prices(NamedTuple):
    """What things cost, in seconds.

    Attributes:
        prepare: All images once: read, compared, encoded.
        step: A training step.
        validation: A measurement of what one fold holds out.
        run: To embed, measure and write one run.
    """

    prepare: float
    step: float
    validation: float
    run: float

    def of_a_part(self, share: float) -> Prices:
        """Return the prices with a share of the items; searches grow by the square."""
        square = share**2
        return self._replace(
            prepare=self.prepare * share,
            validation=self.validation * square,
            run=self.run * max(square, 0.1),
        )


class Shape(NamedTuple):
    """What of a table its price depends on."""

    trained: int  # rows
    untrained: int
    folds: int
    steps: int
    every: int


class Shares(NamedTuple):
    """Into what the time goes: sizes of the search, seeds, and seconds for each stage."""

    items: float  # share of the items that there is time for
    studies: int
    trials: int
    seeds: int
    prepare: float
    tune: float
    run: float

    @property
    def seconds(self) -> float:
        """Return the whole time."""
        return self.prepare + self.tune + self.run


def shares(
    seconds: float,
    prices: Prices,
    shape: Shape,
    *,
    fewest: float = 1.0,
    chosen: bool = False,
) -> Shares:
    """Return how some seconds are spent.

    Every row is tuned alike: its own settings once, and studies × trials. Two fifths of what is
    left after the images are read are for the runs, three seeds at least; the rest is for trials,
    from 2 to 20 a study. Three studies, or five where each then gets 12 trials: a difference is
    sure only where it holds over the searches. What trials leave over, further seeds get, ten at
    most, as many of each study.

    Args:
        seconds: that there are.
        prices: of all items.
        shape: of the table.
        fewest: the share of the items that must be kept; 1: all.
        chosen: whether the user said which rows.

    Raises:
        BenchError: there is no time for the least; the sentence says how long that takes.
    """
    for factor in _FACTORS:
        if factor < fewest:
            break
        found = _spent(seconds * _RESERVE, prices.of_a_part(factor), shape)
        if found is not None:
            return found._replace(items=factor)
    least = max(factor for factor in _FACTORS if factor <= max(fewest, _FACTORS[-1]))
    dear = prices.of_a_part(least)
    needed = max(_least(dear, shape).seconds, 2 * dear.prepare) / _RESERVE
    minutes = max(1, -int(-needed // 60))
    advice = [f"give --minutes {minutes}" if minutes <= LONGEST else "give a part of the data"]
    if shape.trained > 1:
        advice.append("fewer --rows" if chosen else "choose losses, such as --rows proxy_anchor")
    most = "" if minutes <= LONGEST else f", and --minutes {LONGEST:,} is the most"
    raise BenchError(
        f"{duration(seconds)} are too short: {counted(shape.trained, 'row')}, tuned by {STUDIES} "
        f"studies of {TRIALS} trials and run with {SEEDS} seeds, take about {duration(needed)} "
        f"here{most}: {', or '.join(advice)}"
    )


def _trial(prices: Prices, shape: Shape) -> float:
    rounds = min(_VALIDATIONS, -(-shape.steps // shape.every))
    return shape.folds * rounds * (shape.every * prices.step + prices.validation)


def _seed(prices: Prices, shape: Shape) -> float:
    """Return the price of one seed of all rows."""
    train = min(_VALIDATIONS * shape.every, shape.steps) * prices.step
    return shape.trained * (prices.run + train) + shape.untrained * prices.run


def _sized(prices: Prices, shape: Shape, studies: int, trials: int, seeds: int) -> Shares:
    tuned = shape.trained * _trial(prices, shape) * (1 + studies * trials)
    return Shares(1.0, studies, trials, seeds, prices.prepare, tuned, seeds * _seed(prices, shape))


def _least(prices: Prices, shape: Shape) -> Shares:
    return _sized(prices, shape, STUDIES, TRIALS, SEEDS)


def _spent(seconds: float, prices: Prices, shape: Shape) -> Shares | None:
    if _least(prices, shape).seconds > seconds or prices.prepare > seconds / 2:
        return None
    chosen = _least(prices, shape)
    for studies in (STUDIES, MORE_STUDIES):
        rest = seconds - prices.prepare
        seeds = _whole(_TO_RUN * rest / _seed(prices, shape), studies)
        bare = _sized(prices, shape, studies, 0, seeds)
        each = _sized(prices, shape, studies, 1, 0).tune - _sized(prices, shape, studies, 0, 0).tune
        trials = min(int((seconds - bare.seconds) / each), MOST_TRIALS)
        if trials < (TRIALS if studies == STUDIES else ENOUGH):
            break
        tuned = _sized(prices, shape, studies, trials, 0)
        seeds = _whole((seconds - tuned.seconds) / _seed(prices, shape), studies)
        chosen = tuned._replace(seeds=seeds, run=seeds * _seed(prices, shape))
    return chosen


def _whole(seeds: float, studies: int) -> int:
    """Return so many seeds that each study has as many: one each at least, ten at most."""
    return studies * max(1, min(int(seeds), MOST_SEEDS) // studies)
