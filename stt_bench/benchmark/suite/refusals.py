"""Why runs would be refused, found as they find it themselves; nothing is written or fetched."""

from __future__ import annotations

from pathlib import Path

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import InputConfig, ModelConfig
from stt_bench.benchmark.datasets import ItemTable
from stt_bench.benchmark.datasets.catalog import find_dataset
from stt_bench.benchmark.embedding.embed import current_set
from stt_bench.benchmark.models import EmbeddingNetwork, build_network, weights_id
from stt_bench.benchmark.models.weights import is_fetched
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.store.weights import check_weights, read_checkpoint
from stt_bench.benchmark.suite.before import check_begins
from stt_bench.benchmark.suite.one import Data, check_places
from stt_bench.benchmark.system.devices import resolve_device
from stt_bench.benchmark.system.errors import BenchError, NotHereError
from stt_bench.benchmark.training.train import finished_facts


class Refusals:
    """Asks of runs what they ask before their first step; rows that are alike are asked once."""

    def __init__(self, results: Path, data: Data, *, is_here: bool = True) -> None:
        """Take the folder of the ledger, data without downloads, and whether they run here."""
        self._results, self._data, self._is_here = results, data, is_here
        self._rows: dict[str, str] = {}
        self._build = _Networks().build

    def of_run(self, run: Run, *, force: bool) -> str:
        """Return why a run would be refused, or nothing; with `force` it begins anew."""
        try:
            data_hash = self._checked(run, force=force)
        except BenchError as error:
            return str(error)
        if run.is_trained and not force:
            return ""
        why = self.of_row(run.experiment)
        if why or force or data_hash is None or not run.checkpoint.exists():
            return why
        try:
            now = run.origin(data_hash, weights_id(run.experiment.model))
            read_checkpoint(run.checkpoint).check(now, run.folder)
        except BenchError as error:
            return str(error)
        return ""

    def of_row(self, experiment: Experiment) -> str:
        """Return why the training of a row would be refused, whatever its folders hold."""
        key = experiment.digest()
        if key not in self._rows:
            self._rows[key] = self._why(experiment)
        return self._rows[key]

    def _checked(self, run: Run, *, force: bool) -> str | None:
        """Check what a run's folders hold; return the hash of its data, if they are here."""
        items = self._items(run.experiment)
        check_places(run, self._results)
        if force:
            run.check_ours()
            return None
        run.check_settings()
        if items is None:
            return None
        facts = finished_facts(run, items)
        if facts is not None and current_set(run.embeddings(), run, facts, items) is None:
            check_weights(run.weights, facts)
        return items.data_hash

    def _why(self, experiment: Experiment) -> str:
        try:
            items = self._items(experiment)
            if self._is_here:
                resolve_device(experiment.train.device)
            if items is None:
                weights_id(experiment.model)
            else:
                check_begins(experiment, items, self._build)
        except BenchError as error:
            return str(error)
        return ""

    def _items(self, experiment: Experiment) -> ItemTable | None:
        """Return the items of an experiment, or None where a run would download them."""
        try:
            return self._data.of(experiment)
        except NotHereError:
            if is_downloaded(experiment):
                return None
            raise


def is_downloaded(experiment: Experiment) -> bool:
    """Tell whether a run downloads its data where they are not here."""
    automatic = find_dataset(experiment.data.name).download is not None
    return automatic and experiment.data.root is None


class _Networks:
    """Builds networks; neighbours in a table share one, or why there is none."""

    def __init__(self) -> None:
        self._key: tuple[str, str, int | None] | None = None
        self._made: EmbeddingNetwork | BenchError | None = None

    def build(self, model: ModelConfig, input: InputConfig, width: int | None) -> EmbeddingNetwork:
        """Return a network, with random weights in place of those that would be fetched."""
        key = model.model_dump_json(), input.model_dump_json(), width
        if key != self._key or self._made is None:
            self._key, self._made = key, None
            try:
                here = model.model_copy(update={"weights": None}) if is_fetched(model) else model
                self._made = build_network(here, input, width)
            except BenchError as error:
                self._made = error
        if isinstance(self._made, BenchError):
            raise self._made
        return self._made
