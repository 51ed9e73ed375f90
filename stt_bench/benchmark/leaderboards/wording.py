"""How rows, losses and scores are put into words and figures of a page."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from stt_bench.benchmark.config.loss_sections import LossConfig
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.scores import Score
from stt_bench.benchmark.statistics.verdicts import Verdict

METRIC_NAMES = {
    "map@r": "MAP@R",
    "r_precision": "R-Precision",
    "mrr": "MRR",
    "map": "mAP",
    "eer": "EER",
    "roc_auc": "ROC area",
    "nmi": "NMI",
    "ami": "AMI",
    "accuracy": "Accuracy",
    "macro_accuracy": "Macro accuracy",
}
_OF_K = {
    "recall": "R@",
    "precision": "P@",
    "map": "MAP@",
    "ndcg": "nDCG@",
    "tar": "TAR at ",
}
DISTANCES = {"euclidean": "Euclidean distance", "cosine": "cosine"}
MARKS = {
    "†": "of another protocol, not ranked",
    "‡": "collapsed to one point at some time",
    "§": "its loss had nothing to learn from, not ranked",
    "¶": "made by earlier code, not judged",
    "↓": "below the untrained network",
}
VERDICTS = {
    "▲": "above, on new classes too",
    "▼": "below, on new classes too",
    "△": "above, on these classes",
    "▽": "below, on these classes",
    "≈": "cannot be told apart",
    "": "not judged",
}
_PROTOCOL_NAMES = {
    "embedding_dim": "embedding size",
    "steps": "training steps",
    "weights": "starting weights",
    "long_tail": "long tail",
    "query_groups": "lists",
    "columns": "columns of the rules",
    "labels": "labels",
    "map_at_k": "MAP@K",
    "average": "means",
    "rerank": "re-ranking",
    "query_expansion": "query expansion",
    "queries": "queries",
    "input": "input",
}


def metric_name(metric: str) -> str:
    """Return a metric's name as it is printed."""
    start, at, rest = metric.partition("@")
    own = METRIC_NAMES.get(metric)
    return own or (_OF_K.get(start, f"{start}@") + rest if at else metric)


def asked_for(found: Collection[str]) -> list[str]:
    """Return those metrics, in order, that are measured where a table asks and are columns there.

    Error rates are none: a lower one is better.
    """
    extra = [name for name in found if name.partition("@")[0] in (*_OF_K, "map")]
    kept = [name for name in extra if not name.startswith("recall@") and name != "map@r"]
    order = ("map", "precision", "ndcg", "tar")
    return sorted(kept, key=lambda n: (order.index(n.partition("@")[0]), _cut_off(n)))


def _cut_off(metric: str) -> float:
    cut = metric.partition("@")[2].removeprefix("far=")
    return float(cut) if cut else 0.0


def listed(parts: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]


def protocol_name(field: str) -> str:
    """Return a protocol field's name as it is printed."""
    return _PROTOCOL_NAMES.get(field, field)


def protocol_value(value: Any) -> str:
    """Return a protocol field's value as it is printed: a hash by its first digits."""
    text = "default" if value is None else str(value)
    return text[:16] if re.fullmatch("[0-9a-f]{64}", text) else text


def some(labels: Sequence[str], separator: str = ", ", longest: int = 8) -> str:
    """Return labels in a line; of many the first, and how many others the page marks."""
    if len(labels) <= longest:
        return separator.join(labels)
    return f"{separator.join(labels[: longest - 1])} and {len(labels) - longest + 1} others"


def percent(score: Score) -> str:
    """Return ``mean ± std`` in percent."""
    return f"{100 * score.mean:z.1f}{_spread(score)}"


def points(verdict: Verdict) -> str:
    """Return a difference as ``+mean ± half-width`` in percentage points, and its mark."""
    reach = "" if verdict.half_width is None else f" ± {100 * verdict.half_width:.1f}"
    return f"{100 * verdict.mean:+z.1f}{reach} {verdict.mark}".rstrip()


def _spread(score: Score) -> str:
    return "" if score.std is None else f" ± {100 * score.std:.1f}"


def loss_text(row: Row) -> str:
    """Return a row's loss as it is printed: heads, name, parameters, normalisation."""
    experiment = row.experiment
    if experiment.train.steps == 0:
        return "none (untrained)"
    earlier = [
        f"{_loss_alone(phase.loss)} for {phase.steps} steps"
        + (f" (lr {phase.lr:g})" if phase.lr else "")
        for phase in experiment.phases
    ]
    text = ", then ".join([*earlier, _loss_alone(experiment.loss, row.tuned)])
    if experiment.memory:
        text += f" with a memory of {experiment.memory.size} embeddings"
    if experiment.softmax_head:
        where = " on the embedding" if experiment.softmax_on == "embedding" else ""
        weight = "λ" if "loss_weight" in row.tuned else f"{experiment.loss_weight:g}"
        text = f"softmax{where} + {weight} × {text}"
    head = {
        "none": ", on pooled features",
        "linear": "",
        "fc1024": ", fc1024 head",
        "mlp": ", mlp head",
    }
    text += head[experiment.model.head]
    starts = {"orthogonal": "", "pca": ", from PCA", "identity": ", from the first features"}
    text += starts[experiment.model.head_start]
    text += ", on the flattened map" if experiment.model.features == "flattened" else ""
    return text + (", unit length" if experiment.model.normalize else "")


def _loss_alone(loss: LossConfig, tuned: Collection[str] = ()) -> str:
    own = [field.removeprefix("loss.") for field in tuned if field.startswith("loss.")]
    given = [f"{name} {as_yaml(value)}" for name, value in loss.params.items() if name not in own]
    params = ", ".join([*given, *([f"tuned: {', '.join(own)}"] if own else [])])
    return loss.name + (f" ({params})" if params else "")


def as_yaml(value: Any) -> str:
    """Return a value of a table's file as it stands there, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {as_yaml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    return (
        str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    )


def batch_text(row: Row) -> str:
    """Return how a row draws its batches."""
    if not row.is_trained:
        return "–"
    sampler = row.experiment.sampler
    return sampler.text if sampler.name == "pxk" else f"{sampler.images_per_batch} {sampler.text}"
