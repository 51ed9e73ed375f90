"""The page on retrieval rules: its commands and its settings, at toy size."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Done
from ruamel.yaml import YAML

from stt_bench.benchmark.config.experiment import Experiment

PAGE = (Path(__file__).parents[3] / "docs/retrieval-rules.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    (found,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)
    return str(found)


@pytest.mark.parametrize("command", block("bash").splitlines())
def test_commands(command: str, tmp_path: Path, stt_bench: Callable[..., Done]) -> None:
    (tmp_path / "Y.csv").write_text(block("csv"), encoding="utf-8")
    (tmp_path / "tags.csv").write_text("label\na|b\nb\na\nc|a\nc\nd\n", encoding="utf-8")
    np.save(tmp_path / "X.npy", np.random.default_rng(0).standard_normal((6, 4)))
    program, *arguments = shlex.split(command)
    assert program == "stt-bench"
    here = [tmp_path / one if (tmp_path / one).is_file() else one for one in arguments]
    code, told, said = stt_bench(*here, "--quiet")
    assert code == 0, said
    shown = json.loads(told)
    assert 0 <= shown["map@r"] <= 1
    rules = {"--query-groups", "--class-average", "--rerank", "--query-expansion"}
    assert ("rules" in shown) == bool({*rules, "--label-separator"} & set(arguments))


def test_settings() -> None:
    content = YAML(typ="safe").load(block("yaml"))
    rows: dict[str, Any] = content.pop("rows")
    for row in rows.values():
        measured = content["evaluation"] | row.pop("evaluation", {})
        settings = {"data": {"name": "digits"}, **row, "evaluation": measured}
        assert Experiment.model_validate(settings).evaluation.query_groups == "camera"
