"""Rules of retrieval from a config: what is measured, what a record and its page say of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import Done
from PIL import Image

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.scoring import clustering
from stt_bench.benchmark.scoring.evaluate import measure
from stt_bench.benchmark.scoring.retrieval import shares_of_classes
from stt_bench.benchmark.store.embedding_set import EmbeddingSet
from stt_bench.benchmark.store.records import read_record
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.evaluation import reranked_distances, retrieval_metrics, scores_of_distances

QUIET = Reporter(quiet=True)
COUNT = 48


def reid(*, apart: bool = True) -> EmbeddingSet:
    """Six identities under three cameras, of some items none is known; some are junk."""
    rng = np.random.default_rng(0)
    labels = np.arange(COUNT) % 6
    x = rng.standard_normal((6, 5))[labels] + rng.standard_normal((COUNT, 5))
    cameras = rng.choice(["", "c1", "c2", "c3"], COUNT)
    roles = np.where(np.arange(COUNT) < 16, "query", "gallery") if apart else ["both"] * COUNT
    ids = np.array([f"i{number}" for number in range(COUNT)])
    columns = {"camera": cameras, "bad": np.where(np.arange(COUNT) % 9 == 8, "True", "no")}
    return EmbeddingSet(
        x.astype(np.float32), labels.astype(str), ids, np.array(roles), None, {},
        pd.DataFrame(columns),
    )  # fmt: skip


def config(**rules: Any) -> EvaluationConfig:
    return EvaluationConfig.model_validate({"ks": [1, 3], "clustering": False} | rules)


def mean_ap(embedded: EmbeddingSet, *, rule: str | None, junk: bool) -> float:
    """mAP by its definition under cosine, where no two items are equally far."""
    x = embedded.embeddings / np.linalg.norm(embedded.embeddings, axis=1, keepdims=True)
    cameras = embedded.metadata["camera"].to_numpy()
    bad = (embedded.metadata["bad"] == "True").to_numpy() & junk
    found = []
    for query in range(COUNT):
        if embedded.roles[query] == "gallery" or bad[query]:
            continue
        items = []
        for item in range(COUNT):
            alike = embedded.labels[item] == embedded.labels[query]
            same = cameras[item] == cameras[query] != ""
            gone = rule is not None and same and (alike or rule == "all")
            if item != query and embedded.roles[item] != "query" and not bad[item] and not gone:
                items.append(item)
        order = sorted(items, key=lambda item, q=query: -float(x[q] @ x[item]))
        hits = [embedded.labels[item] == embedded.labels[query] for item in order]
        precisions = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
        if precisions:
            found.append(sum(precisions) / len(precisions))
    return sum(found) / len(found)


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("rule", [None, "label", "all"])
@pytest.mark.parametrize("junk", [True, False])
def test_columns_of_the_items_rule_the_lists(apart: bool, rule: str | None, junk: bool) -> None:
    embedded = reid(apart=apart)
    rules: dict[str, Any] = {"metrics": ["map"]}
    rules |= {} if rule is None else {"query_groups": "camera", "groups_apply_to": rule}
    rules |= {"junk": "bad"} if junk else {}
    found = measure(embedded, config(**rules))
    expected = mean_ap(embedded, rule=rule, junk=junk)
    assert found.metrics["map"] == pytest.approx(expected, abs=1e-6)
    assert found.other is not None
    assert found.other.metrics["map"] != found.metrics["map"]
    shares = shares_of_classes(embedded, config(**rules), "cosine", QUIET)
    assert shares is not None
    assert shares.mean("map@r") == pytest.approx(found.metrics["map@r"], abs=1e-9)


def test_everything_a_table_asks_for_stands_under_its_key() -> None:
    asked = config(
        metrics=["ndcg", "recall", "map", "precision", "map@k"], verification=[0.1, 0.01]
    )
    assert asked.metrics == ["map", "precision", "map@k", "ndcg"]
    found = measure(reid(), asked).metrics
    assert list(found) == [
        "recall@1", "recall@3", "r_precision", "map@r", "mrr", "map", "precision@1",
        "precision@3", "map@1", "map@3", "ndcg@1", "ndcg@3", "queries",
        "queries_without_positive", "tar@far=0.01", "tar@far=0.1", "eer", "roc_auc",
        "positive_pairs", "negative_pairs",
    ]  # fmt: skip


def test_classes_count_alike_where_the_table_says_so() -> None:
    embedded = reid(apart=False).rows(np.r_[0:20, 24:30, 36:42])
    found = measure(embedded, config(class_average=True, distance="euclidean"))
    expected = retrieval_metrics(embedded.embeddings, embedded.labels, ks=(1, 3), average="class")
    assert found.metrics == pytest.approx(expected)
    shares = shares_of_classes(embedded, config(class_average=True), "euclidean", QUIET)
    assert shares is not None
    assert shares.weighting == "class"
    values = shares.metrics["map@r"].values
    assert sum(values) / len(values) == pytest.approx(expected["map@r"], abs=1e-6)


def test_reranking_is_of_all_items_once_and_has_no_shares_of_classes() -> None:
    embedded = reid(apart=False)
    rules = config(rerank={"k1": 6, "k2": 3}, query_groups="camera")
    found = measure(embedded, rules)
    table = reranked_distances(embedded.embeddings, k1=6, k2=3, distance="cosine")
    cameras = embedded.metadata["camera"].to_numpy()
    groups = [f"{c}" if c else f"none {i}" for i, c in enumerate(cameras)]
    expected = scores_of_distances(table, embedded.labels, query_groups=groups, ks=(1, 3))
    assert found.metrics == pytest.approx(expected.metrics())
    assert shares_of_classes(embedded, rules, "cosine", QUIET) is None


def test_expanded_queries_are_not_their_own_neighbours() -> None:
    for embedded in (reid(), reid(apart=False)):
        plain = measure(embedded, config()).metrics
        found = measure(embedded, config(query_expansion={"k": 2}))
        assert found.other is None  # by cosine alone
        assert found.metrics["queries"] == plain["queries"]
        assert found.metrics["map@r"] != plain["map@r"]
    both = config(query_expansion={}, rerank={})
    assert measure(reid(), both).metrics["queries"] == 16
    with pytest.raises(BenchError, match="has another embedding there"):
        measure(reid(apart=False), both)


def test_several_labels_of_an_item() -> None:
    x = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=np.float32)
    labels = np.array(["a|b", "b | c", "c", "d"])
    ids, roles = np.array(list("wxyz")), np.full(4, "both")
    embedded = EmbeddingSet(x, labels, ids, roles, None, {})
    found = measure(embedded, config(label_separator="|", ks=[1]))
    assert found.metrics["queries"] == 3  # d has no other
    assert found.metrics["recall@1"] == pytest.approx(2 / 3)  # y: z is nearer than x
    assert found.scores is not None
    assert found.scores.per_class().keys() == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"query_groups": "kamera"}, "no column 'kamera': did you mean 'camera'"),
        ({"junk": "camera"}, "junk: item 'i.*' has camera 'c.': write true or false"),
    ],
)
def test_columns_that_do_not_fit(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        measure(reid(), config(**rules))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"groups_apply_to": "all"}, "needs query_groups"),
        ({"map_at_k": "hits"}, "needs map@k in metrics"),
        ({"label_separator": "|", "clustering": True}, "needs clustering: false"),
        ({"query_expansion": {}, "distance": "euclidean"}, "needs distance: cosine"),
        ({"verification": [1.5]}, "less than or equal to 1"),
        ({"rerank": {"weight": 2.0}}, "less than or equal to 1"),
        ({"metrics": ["mapp"]}, "map@k"),
        ({"queries": 1}, "greater than or equal to 2"),
        ({"queries": 9, "rerank": {}}, "queries goes without rerank"),
        ({"queries": 9, "verification": [0.1]}, "queries goes without verification"),
        ({"queries": 9, "class_average": True}, "queries goes without class_average"),
    ],
)
def test_settings_that_do_not_fit(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**rules)


def test_a_sample_is_that_of_the_metrics_and_a_set_too_large_for_k_means_is_not_clustered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    embedded, asked = reid(apart=False), config(queries=9, clustering=True)
    found = measure(embedded, asked)
    assert "nmi" in found.metrics
    expected = retrieval_metrics(
        embedded.embeddings, embedded.labels, ks=(1, 3), distance="cosine", sample=9
    )
    assert {name: found.metrics[name] for name in expected} == expected
    assert shares_of_classes(embedded, config(queries=9), "cosine", QUIET) is None

    monkeypatch.setattr(clustering, "MOST_PRODUCTS", COUNT * 6 * 5 - 1)
    capsys.readouterr()
    assert measure(embedded, asked).metrics == expected
    assert "no NMI and AMI: k-means of 48 items to 6 clusters" in capsys.readouterr().err
    assert "nmi" in measure(embedded, asked, any_clustering=True).metrics


TABLE = """\
title: T
description: T.
data: {name: images, root: ROOT}
input: {size: 16, channels: 1, mean: [0.3], std: [0.37]}
model: {backbone: small_cnn, embedding_dim: 4}
sampler: {p: 2, k: 2}
train: {steps: 0, threads: 1}
evaluation: {clustering: false, ks: [1], query_groups: camera, metrics: [map], verification: [0.1]}
rows:
  softmax: {loss: softmax}
  again: {loss: softmax, evaluation: {rerank: {k1: 3, k2: 1}}}
  some: {loss: softmax, evaluation: {queries: 7, verification: null}}
"""


def test_a_record_names_its_rules_and_a_page_marks_the_row(
    tmp_path: Path, stt_bench: Callable[..., Done]
) -> None:
    lines = ["path,label,camera"]
    rng = np.random.default_rng(0)
    for number in range(24):
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number // 4},c{number % 2}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    table = tmp_path / "t.yaml"
    table.write_text(TABLE.replace("ROOT", str(tmp_path / "list.csv")))
    where = ("--runs", tmp_path / "runs", "--results", tmp_path / "results", "--quiet")
    code, _, said = stt_bench("run", table, *where)
    assert code == 0, said
    plain, again, some = (
        read_record(tmp_path / f"results/records/t/{row}/seed-0.json")
        for row in ("softmax", "again", "some")
    )
    assert (
        plain.protocol["query_groups"]
        == "items of the query's label with an equal camera taken out"
    )
    assert again.protocol["rerank"] == "k-reciprocal, k1 3, k2 1, weight 0.3"
    assert plain.protocol["columns"] == again.protocol["columns"]
    assert plain.protocol_fingerprint != again.protocol_fingerprint
    assert plain.class_values is not None
    assert again.class_values is some.class_values is None
    assert some.protocol["queries"] == "7 drawn at random"
    assert some.metrics["queries"] == 7
    assert some.metrics["sampled_from"] == plain.metrics["queries"]
    assert some.other_distance is not None
    for of in (some.metrics, some.other_distance.metrics):
        assert 0 < of["standard_error_mrr"] < 0.5
    assert {"map", "eer", "tar@far=0.1", "positive_pairs"} <= plain.metrics.keys()
    page = (tmp_path / "results/t.md").read_text()
    assert "mAP" in page.split("## Where")[0]
    assert "k-reciprocal" in page
    assert "†" in page
    assert f"sample of the queries, 7 of {plain.metrics['queries']:.0f}, drawn at random" in page
    assert "standard error at most: MAP@R " in page
    code, _, said = stt_bench("verify", "t", *where)
    assert code == 0, said

    assert "0 to train" in stt_bench("run", table, "--dry-run", *where[:4]).stdout
    listed = (tmp_path / "list.csv").read_text()
    (tmp_path / "list.csv").write_text(listed.replace("23.png,5,c1", "23.png,5,c0"))
    code, _, said = stt_bench("run", table, "--rows", "softmax", *where)
    assert code == 0, said
    moved = read_record(tmp_path / "results/records/t/softmax/seed-0.json")
    assert moved.protocol["columns"] != plain.protocol["columns"]
    assert moved.metrics["map"] != plain.metrics["map"]
    (tmp_path / "list.csv").write_text(listed)
    assert stt_bench("run", table, "--rows", "softmax", *where).returncode == 0

    code, told, said = stt_bench(
        "eval", tmp_path / "runs/t/softmax/seed-0", "--rerank", "3,1", *where[2:]
    )
    assert code == 0, said
    shown = json.loads(told)
    assert shown["rules"]["rerank"] == {"k1": 3, "k2": 1, "weight": 0.3}
    assert shown["map@r"] == again.metrics["map@r"]
    now = read_record(tmp_path / "results/records/t/softmax/seed-0.json")
    assert now.metrics == plain.metrics

    path = tmp_path / "results/records/t/softmax/seed-0.json"
    content = json.loads(path.read_text())
    content["protocol"]["columns"] = "no hash"
    path.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=r"protocol\.columns is no sha256"):
        read_record(path)
    wrong = table.read_text().replace("query_groups: camera", "query_groups: kamera")
    table.write_text(wrong)
    other = ("--runs", tmp_path / "other", "--results", tmp_path / "others")
    code, told, said = stt_bench("run", table, "--dry-run", *other)
    assert "has no column 'kamera': did you mean 'camera'" in told + said
