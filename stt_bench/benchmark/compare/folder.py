"""What a comparison leaves in its folder, and by which it is continued."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from stt_bench.benchmark.compare.plan import Plan, Request
from stt_bench.benchmark.compare.rows import catalogue
from stt_bench.benchmark.compare.table import ITEMS, link_vectors, table_text, write_items
from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.store.locks import all_locked, lock_file, locked, locked_in
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.atomic import discard_folder
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import read_model, write_json, write_text
from stt_bench.benchmark.system.text import is_table_name, one_line

STATE = "compare.json"
_GROWING = ("#", "seeds:", "tuning:")
_OURS = {STATE, ITEMS, "results", "runs"}


class State(BaseModel):
    """How far a comparison is.

    Attributes:
        plan: What it is made of.
        spent: Seconds that it has taken so far.
        rounds: Trials that each study of every row has.
        tuned: Whether that is all of them.
        seeds: Seeds that every row has been run with, or is.
        measuring: Seconds that a run takes beside its training.
        done: Whether it is at its end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    plan: Plan
    spent: float = 0.0
    rounds: int = 0
    tuned: bool = False
    seeds: int
    measuring: float = 0.0
    done: bool = False


@dataclass(frozen=True)
class Folder:
    """The folder of a comparison: its table, its items, its runs and its results."""

    path: Path

    @property
    def name(self) -> str:
        """Return the name of its table: that of the folder where it may be one."""
        bare = self.path.resolve().name.removeprefix("compare-")
        return bare if is_table_name(bare) else "compared"

    @property
    def table_file(self) -> Path:
        """Return the file of its table."""
        return self.path / f"{self.name}.yaml"

    @property
    def results(self) -> Path:
        """Return the folder of records and pages."""
        return self.path / "results"

    @property
    def runs(self) -> Path:
        """Return the folder of the trained networks and their embeddings."""
        return self.path / "runs"

    @property
    def command(self) -> str:
        """Return the command line that runs the table again."""
        return f"stt-bench run {self.table_file} --runs {self.runs} --results {self.results}"

    def state(self, request: Request) -> State | None:
        """Return how far the comparison in it is; None: there is none yet.

        Raises:
            BenchError: what lies there is another comparison, or none.
        """
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            raise BenchError(f"{self.path} is a file: name another folder with --out")
        file = self.path / STATE
        if not file.exists():
            if any(self.path.iterdir()):
                raise BenchError(
                    f"{self.path} holds files that are no comparison: name another folder with "
                    "--out"
                )
            return None
        state = read_model(file, State, "a comparison", "name another folder with --out")
        if state.plan.request != request:
            differing = [
                name
                for name, value in request.model_dump().items()
                if value != state.plan.request.model_dump()[name]
            ]
            was = state.plan.request.model_dump()[differing[0]]
            raise BenchError(
                f"{self.path} holds a comparison with {differing[0]} {one_line(str(was), 80)}: "
                "name another folder with --out, or let --force begin it anew"
            )
        if not state.done and self._is_edited(state):
            raise BenchError(
                f"{self.table_file} was changed by hand: go on with `{self.command}`, after "
                "`stt-bench tune`, or let --force begin anew"
            )
        return state

    def _is_edited(self, state: State) -> bool:
        """Tell whether the table is another; its seeds and trials are as of when it was written."""
        if not self.table_file.exists():
            return False
        texts = self.table_file.read_text(encoding="utf-8", errors="replace"), self._text(state)
        kept = [
            [line for line in text.splitlines() if not line.startswith(_GROWING)] for text in texts
        ]
        return kept[0] != kept[1]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from the comparison, as `locked`; one not begun leaves no file."""
        with locked(self.path):
            try:
                yield
            finally:
                if not self.path.exists():
                    lock_file(self.path).unlink(missing_ok=True)

    def check_ours(self) -> None:
        """Check that the folder, if it is there, holds a comparison and nothing else.

        Raises:
            BenchError: it does not.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise BenchError(f"{self.path} is a file: name another folder with --out")
        ours = {*_OURS, self.table_file.name}
        others = [
            one.name
            for one in self.path.iterdir()
            if one.name not in ours and one.stem != "vectors" and not one.name.startswith(".")
        ]
        if others or not (self.path / STATE).exists():
            raise BenchError(
                f"{self.path} holds files that are no comparison: name another folder with --out"
            )

    def discard(self) -> None:
        """Remove a comparison, if there is one.

        Raises:
            BenchError: the folder holds anything else, or another process works on a run or a
                search in it.
        """
        self.check_ours()
        if self.path.exists():
            with all_locked(locked_in(self.path)):
                discard_folder(self.path)

    def save(self, state: State) -> None:
        """Write how far it is, and the table as it is then; at its end it is the user's."""
        write_json(self.path / STATE, state.model_dump(mode="json"))
        if not state.done:
            write_text(self.table_file, self._text(state))

    def write_items(self, frame: pd.DataFrame, vectors: Path | None) -> None:
        """Write the items with their split, and a link to the file of vectors."""
        if vectors is not None:
            self.path.mkdir(parents=True, exist_ok=True)
            link_vectors(vectors, self.path)
        write_items(frame, self.path / ITEMS)

    def table(self) -> Table:
        """Return the table as it is now."""
        return load_table(str(self.table_file))

    def _text(self, state: State) -> str:
        plan = state.plan
        known = catalogue()
        content: dict[str, Any] = {
            "title": f"{one_line(Path(plan.request.data).name, 80)}: which loss is best",
            "description": " ".join(f"{line[:1].upper()}{line[1:]}." for line in plan.told),
            "seeds": list(range(state.seeds)),
            "tuning": {
                "studies": plan.shares.studies,
                "trials": state.rounds if state.tuned else max(state.rounds, plan.shares.trials),
                "folds": plan.folds,
                "every": plan.every,
                "patience": plan.patience,
            },
            "data": self.data(plan),
            **plan.sections,
            "rows": {row: known[row] for row in plan.rows},
        }
        return table_text(content, f"Made by stt-bench compare; {self.command}")

    def data(self, plan: Plan) -> dict[str, Any]:
        """Return the section `data` of the table."""
        folder = self.path.resolve()
        vectors = next(folder.glob("vectors.*"), None)
        if vectors is None:
            return {"name": "images", "root": str(folder / ITEMS)}
        options: dict[str, Any] = {"items": ITEMS}
        if plan.request.array is not None:
            options["array"] = plan.request.array
        return {"name": "features", "root": str(vectors), "options": options}


def default_folder(data: Path) -> Path:
    """Return the folder of a comparison beside the current one: `compare-NAME`."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", data.resolve().stem).strip("-._")[:80]
    return Path(f"compare-{name or 'data'}")
