"""A table whose sampler can never give a loss what it needs is refused before anything trains."""

from pathlib import Path

import pytest

from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.losses import build_loss, loss_names, registry

NEVER = {"needs_positives": "{p: 4, k: 1}", "needs_negatives": "{p: 1, k: 4}"}


def table(folder: Path, sampler: str, row: str) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(
        f"data: {{name: digits}}\nsampler: {sampler}\ntrain: {{steps: 9}}\nrows:\n  a: {row}\n"
    )
    return path


def rows_with(name: str) -> dict[str, str]:
    rows = {
        "alone": f"{{loss: {name}}}",
        "first phase": f"{{loss: softmax, phases: [{{steps: 2, loss: {name}}}]}}",
    }
    if name != "softmax":
        rows["two heads"] = f"{{loss: {name}, softmax_head: true}}"
    return rows


@pytest.mark.parametrize("name", loss_names())
@pytest.mark.parametrize("need", NEVER)
def test_every_loss_gets_what_it_needs_or_is_refused(tmp_path: Path, name: str, need: str) -> None:
    loss = build_loss(name, num_classes=2, embedding_dim=2)
    for place, row in rows_with(name).items():
        path = table(tmp_path, NEVER[need], row)
        if not getattr(loss, need):
            load_table(path)
            continue
        with pytest.raises(BenchError, match=rf"line 5: .*{name} (needs|reads)") as caught:
            load_table(path)
        assert "\n" not in str(caught.value), place


def test_the_default_sampler_suits_every_loss(tmp_path: Path) -> None:
    for name in loss_names():
        for row in rows_with(name).values():
            load_table(table(tmp_path, "{p: 5, k: 4}", row))


@pytest.mark.parametrize("sampler", ["{p: 1, k: 1}", "{name: uniform, batch_size: 1}"])
def test_one_image_makes_no_pair(tmp_path: Path, sampler: str) -> None:
    with pytest.raises(BenchError, match="contrastive needs batches of 2 or more items"):
        load_table(table(tmp_path, sampler, "{loss: contrastive}"))


def test_fast_pairs_need_two_classes(tmp_path: Path) -> None:
    row = "{loss: {name: contrastive, pairs: fast}}"
    with pytest.raises(BenchError, match="contrastive needs batches of 8 or more items"):
        load_table(table(tmp_path, "{p: 1, k: 4}", row))


def test_a_loss_of_a_plugin_that_cannot_be_built_is_told_with_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setitem(registry._factories, "broken", broken)
    said = r"line 5: row 'a': the loss 'broken' cannot be built \(ZeroDivisionError: two lines\)"
    with pytest.raises(BenchError, match=said):
        load_table(table(tmp_path, "{p: 4, k: 4}", "{loss: broken}"))
