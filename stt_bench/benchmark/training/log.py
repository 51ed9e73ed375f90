"""What a training writes while it runs."""

from __future__ import annotations

import json

from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.files import write_atomically


class TrainingLog:
    """``metrics.jsonl`` and TensorBoard events, cut back to the step training continues from."""

    def __init__(self, run: Run, step: int) -> None:
        """Open the log of a run that continues after ``step`` steps."""
        from torch.utils.tensorboard import SummaryWriter

        kept = []
        if run.metrics.exists():
            for line in run.metrics.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line + "\n")
                except (ValueError, KeyError):
                    break  # a line cut short by a kill; all after it is written again
        write_atomically(run.metrics, lambda stream: stream.write("".join(kept).encode()))
        self._file = run.metrics.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run.folder / "tensorboard"), purge_step=step + 1)

    def write(self, entry: dict[str, float]) -> None:
        """Add the measurements of ``entry["step"]``."""
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        for name, value in entry.items():
            if name != "step":
                self._board.add_scalar(f"train/{name}", value, int(entry["step"]))

    def __enter__(self) -> TrainingLog:
        """Return the log."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close both files."""
        self._file.close()
        self._board.close()
