"""Trials as tasks: plain data that any process can take, and what does them there."""

from __future__ import annotations

import pickle
import threading
from dataclasses import dataclass

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.datasets.training_items import folds_of, training_items
from stt_bench.benchmark.store.trials import Trial
from stt_bench.benchmark.system.devices import resolve_device, tell_device
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.memory import full_memory_told
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.signals import Stopped, heeded_at_once
from stt_bench.benchmark.training.stop import stop_requested
from stt_bench.benchmark.tuning.space import Point
from stt_bench.benchmark.tuning.trial import Material, run_trial


@dataclass(frozen=True)
class ToTry:
    """A point of a row's search, by its study and index there."""

    row: str
    experiment: Experiment
    study: int
    index: int
    point: Point


@dataclass(frozen=True)
class Failure:
    """In place of a trial: why it could not be made."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return the failure, by an error that pickle can take to another process."""
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            plain = BenchError if isinstance(error, BenchError) else RuntimeError
            return cls(plain(str(error)))
        return cls(error)


class Data:
    """The training items of the last row, with their folds, so that neighbours share them."""

    def __init__(self) -> None:
        """Have none yet."""
        self._key: str | None = None
        self._material: Material | None = None

    def of(self, experiment: Experiment, folds: int) -> Material:
        """Return what a row's trials train on and are measured on; BenchError: it is not here."""
        key = experiment.data.model_dump_json()
        if self._material is None or key != self._key:
            items = training_items(experiment.data)
            cut = folds_of(items, experiment.data.task, folds)
            self._key, self._material = key, Material(items, cut)
        return self._material


class Worker:
    """Makes trials one after the other; neighbours share their data."""

    def __init__(
        self,
        config: TuningConfig,
        reporter: Reporter,
        data: Data | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Make nothing yet; `data` and `stop` are those of the process, if it has them already."""
        self._config, self._reporter = config, reporter
        self._data, self._stop = data or Data(), stop

    def do(self, content: ToTry) -> Trial | Failure:
        """Make a trial.

        Raises:
            TrainingStopped: it was told to stop.
        """
        if self._stop is not None:
            return self._tried(content, self._stop)
        with stop_requested() as stop:
            return self._tried(content, stop)

    def _tried(self, content: ToTry, stop: threading.Event) -> Trial | Failure:
        try:
            # A trial that is under way begins again: nothing is lost where it ends at once.
            with (
                heeded_at_once(),
                full_memory_told(f"trial {content.index} of study {content.study}", "train"),
            ):
                if stop.is_set():
                    raise TrainingStopped("the search stopped")
                name = content.experiment.train.device
                device = resolve_device(name)
                tell_device(name, device, self._reporter)
                return run_trial(
                    content.experiment,
                    self._config,
                    self._data.of(content.experiment, self._config.folds),
                    study=content.study,
                    index=content.index,
                    point=content.point,
                )
        except Stopped:
            stop.set()
            raise TrainingStopped("the search stopped") from None
        except TrainingStopped:
            raise
        except Exception as error:  # whatever befalls one row, the others go on
            return Failure.of(error)
