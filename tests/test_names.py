"""The one "did you mean"."""

import ast
from pathlib import Path

import pytest

import stt_bench
from stt_bench.names import did_you_mean


@pytest.mark.parametrize(
    ("name", "valid", "sentence"),
    [
        ("hard_tripplet", ["softmax", "hard_triplet"], "did you mean 'hard_triplet'?"),
        ("COSINE", ["cosine", "euclidean"], "did you mean 'cosine'?"),
        ("imagenet1k_v1", ["IMAGENET1K_V1"], "did you mean 'IMAGENET1K_V1'?"),
        ("q", {"beta", "alpha"}, "valid: alpha, beta"),
        ("q", [], "there are none"),
        ("center", ["contrastive", "softmax"], "valid: contrastive, softmax"),
        ("a1_in1", ["resnet50.a1_in1k", "resnet50.tv_in1k"], "did you mean 'resnet50.a1_in1k'?"),
        (
            "in1k",
            ["resnet50.a1_in1k", "resnet50.tv_in1k"],
            "valid: resnet50.a1_in1k, resnet50.tv_in1k",
        ),
        (7, [1, 2], "valid: 1, 2"),
        ("margin" * 1_000_000, ["margin"], "valid: margin"),
    ],
)
def test_sentence(name, valid, sentence):
    assert did_you_mean(name, valid) == sentence


def test_a_long_list_of_names_is_counted():
    sentence = did_you_mean("q", (f"{number:05}" for number in range(60_000)))
    assert sentence.startswith("valid: 00000, 00001,")
    assert sentence.endswith("00039 and 59,960 more")


def test_nobody_else_looks_for_near_names():
    root = Path(stt_bench.__file__).parent
    importers = [
        file.relative_to(root).as_posix()
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and "difflib" in [name.name for name in node.names]
    ]
    assert importers == ["names.py"]
