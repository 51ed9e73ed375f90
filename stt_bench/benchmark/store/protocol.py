"""The protocol fingerprint: what two results must share before one may be called better.

A protocol is all that is *not* the method: the data and their split, the query/gallery rule, the
network and its starting weights, the input, the size of the embedding, the batches and the budget,
and how the evaluated weights were chosen. The method is the loss with its parameters, the heads,
the normalisation that belongs to the loss, and the optimiser: these are what a table compares, and
it shows them. The distance is neither: retrieval is measured by both.
"""

from __future__ import annotations

from typing import Any

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.config.experiment import Experiment, digest_of

SAMPLES = "samples"  # there where the training items count by weights
RULES = (
    "query_groups", "junk", "labels", "map_at_k", "average", "rerank", "query_expansion", "columns",
    "queries",
)  # fmt: skip
"""The keys of what rules of retrieval make of lists and means; accuracy knows none of it."""
COLUMNS = "columns"  # there where a rule reads columns of the test items: their sha256


def protocol_of(
    experiment: Experiment,
    *,
    data_hash: str,
    initial_weights: str,
    embedding_dim: int,
    weighted: bool = False,
) -> dict[str, Any]:
    """Return the protocol of an experiment as plain values.

    Args:
        experiment: the resolved settings.
        data_hash: of the items that are embedded.
        initial_weights: what training started from.
        embedding_dim: the size of the embedding.
        weighted: whether the training items count by weights.
    """
    sampler, model, image = experiment.sampler, experiment.model, experiment.input
    fixed = f", {image.views} fixed views an image" if image.views else ""
    largest = f"–{image.resize_max}" if image.resize_max else ""
    by = ", by torch" if image.resize_by == "torch" else ""
    measured = experiment.evaluation
    extra: dict[
        str, Any
    ] = {}  # named only where they are not the default, so that fingerprints stay
    if experiment.data.long_tail is not None:
        extra["long_tail"] = experiment.data.long_tail
    if weighted:
        extra[SAMPLES] = "weighted by a column of the data"
    if measured.crops != "center" or measured.flip:
        crops = f"{measured.crops} crop" + (", flip" if measured.flip else "")
        extra["views"] = crops + (f", {measured.aggregate}" if measured.views > 1 else "")
    if measured.restarts != 3:
        extra["restarts"] = measured.restarts
    if measured.clustering_start != "random":
        extra["clustering_start"] = measured.clustering_start
    if experiment.train.precision != "float32":
        extra["precision"] = experiment.train.precision
    if measured.precision != "float32":
        extra["embedded_in"] = measured.precision
    if measured.storage != "float32":
        extra["storage"] = measured.storage
    extra |= _retrieval_rules(measured)
    seen = {
        "input": f"{image.size} px, {image.channels} channel(s)",
        "resize": f"{image.aspect} aspect to {image.resize or image.size}{largest}{by}",
        "augmentation": f"{image.crop} crop" + (", flip" if image.flip else "") + fixed,
    }
    if model.backbone == "identity":
        seen = {"input": "vectors", "resize": "none", "augmentation": "none"}
    return {
        "data": data_hash,
        "task": experiment.data.task,
        "rule": "query and gallery by role, a query never retrieves itself, exact search",
        "backbone": model.backbone,
        "weights": initial_weights,
        **seen,
        "embedding_dim": embedding_dim,
        "sampler": sampler.text,
        "batch": sampler.images_per_batch,
        "steps": experiment.train.steps,
        "selection": _selection(experiment),
        **extra,
    }


def _retrieval_rules(measured: EvaluationConfig) -> dict[str, Any]:
    """Return what makes other lists, or other metrics of the same name, of the same embeddings."""
    rules: dict[str, Any] = {}
    if measured.query_groups is not None:
        of = "of the query's label" if measured.groups_apply_to == "label" else "of any label"
        rules["query_groups"] = f"items {of} with an equal {measured.query_groups} taken out"
    if measured.junk is not None:
        rules["junk"] = f"items that are {measured.junk} taken out"
    if measured.label_separator is not None:
        rules["labels"] = f"several an item, parted by {measured.label_separator!r}"
    if measured.map_at_k != "min":
        rules["map_at_k"] = f"MAP@K over {measured.map_at_k}"
    if measured.class_average:
        rules["average"] = "over classes"
    if (rerank := measured.rerank) is not None:
        rules["rerank"] = f"k-reciprocal, k1 {rerank.k1}, k2 {rerank.k2}, weight {rerank.weight}"
    if (expansion := measured.query_expansion) is not None:
        rules["query_expansion"] = f"by {expansion.k} items, alpha {expansion.alpha}"
    if measured.queries is not None:
        rules["queries"] = f"{measured.queries:,} drawn at random"
    return rules


def _selection(experiment: Experiment) -> str:
    decay = experiment.train.ema
    averaged = "" if decay is None else f", of the moving average of the weights (decay {decay:g})"
    return _step_of(experiment) + averaged


def _step_of(experiment: Experiment) -> str:
    every, share = experiment.train.validate_every, experiment.data.validation
    if every is None or share is None:
        return "last step"
    if share == "official":
        return f"best on the data's own validation split, every {every} steps"
    of = "classes" if experiment.data.task == "retrieval" else "images"
    return f"best on {share:.0%} of the training {of}, every {every} steps"


def fingerprint(protocol: dict[str, Any]) -> str:
    """Return the sha256 of a protocol, shortened to 16 hexadecimal digits."""
    return digest_of(protocol)[:16]
