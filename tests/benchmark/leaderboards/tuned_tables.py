"""Made-up records and trials of tuned rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from test_leaderboard import record

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.store.protocol import fingerprint
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.store.trials import DEFAULT, Trial, TuningRecord
from stt_bench.benchmark.tuning.space import own_point, point_of, space_of, value_of

EVERY = 50


def tuned(
    row: str, seed: int, value: float, point: dict[str, float], steps: int = 100, **settings: Any
) -> Record:
    """Return the record of a seed whose study chose a point and a length."""
    size = {"studies": 3, "trials": 20, "folds": 4, **settings.pop("search", {})}
    made = record(row, seed, {"map@r": value}, **settings)
    chosen: dict[str, Any] = {**point, "train.steps": steps}
    before = {field: value_of(made.experiment, field) for field in chosen}
    experiment = made.experiment.with_values(chosen)
    protocol = {**made.protocol, "steps": steps}
    found = TuningRecord(
        study=seed % size["studies"],
        index=seed,
        point=point,
        steps=steps,
        objective=0.5,
        base_digest=made.experiment.digest(),
        before=before,
        **size,
    )
    update = {
        "tuning": found,
        "experiment": experiment,
        "config_digest": experiment.digest(),
        "protocol": protocol,
        "protocol_fingerprint": fingerprint(protocol),
    }
    return made.model_copy(update=update)


def tried(
    experiment: Experiment, study: int, index: int, objective: float, steps: int = 100, **of: Any
) -> Trial:
    """Return a trial of a row's search, or of its own settings (`DEFAULT`), with three folds."""
    space = space_of(experiment)
    own = index == DEFAULT
    curve = [*[0.0] * (steps // EVERY - 1), objective]
    return Trial(
        study=study,
        index=index,
        point=own_point(experiment, space) if own else point_of(space, study, index),
        base_digest=experiment.digest(),
        every=EVERY,
        patience=4,
        curves=[curve] * 3,
        objective=objective,
        steps=steps,
        **{"seconds": 6.0, **of},
    )


def failed(experiment: Experiment, study: int, index: int) -> Trial:
    """Return a trial that ended in an error."""
    made = tried(experiment, study, index, 0.5)
    return made.model_copy(
        update={"objective": 0.0, "steps": 0, "curves": [[]] * 3, "error": "diverged"}
    )


def searched(experiment: Experiment, objectives: Sequence[Sequence[float]]) -> list[Trial]:
    """Return the trials of some studies, by study and index."""
    return [
        tried(experiment, study, index, value)
        for study, values in enumerate(objectives)
        for index, value in enumerate(values)
    ]


def final(row: str, seed: int, value: float, trials: Sequence[Trial], **settings: Any) -> Record:
    """Return the record of a seed that was trained with the winner of its study."""
    own = [trial for trial in trials if not trial.is_default]
    size = {
        "studies": 1 + max(trial.study for trial in own),
        "trials": 1 + max(trial.index for trial in own),
        "folds": 3,
    }
    of_study = [trial for trial in own if trial.study == seed % size["studies"]]
    best = max(of_study, key=lambda trial: trial.objective)
    made = tuned(row, seed, value, best.point, best.steps, search=size, **settings)
    assert made.tuning is not None
    found = {"index": best.index, "objective": best.objective}
    return made.model_copy(update={"tuning": made.tuning.model_copy(update=found)})
