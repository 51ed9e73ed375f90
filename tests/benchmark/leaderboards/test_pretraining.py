"""What starting weights have seen of a test set is said by the row's page, with its source."""

from __future__ import annotations

import pytest
from test_leaderboard import record

from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets import dataset_names
from stt_bench.benchmark.leaderboards.board import build_leaderboard
from stt_bench.benchmark.leaderboards.contamination_notes import contamination_notes
from stt_bench.benchmark.leaderboards.pretraining import (
    KNOWN,
    pretraining_note,
    pretraining_sets,
)


@pytest.mark.parametrize(
    ("weights", "sets"),
    [
        ("torchvision:GoogLeNet_Weights.IMAGENET1K_V1", ["ImageNet-1k"]),
        ("timm:tf_efficientnet_lite0.in1k", ["ImageNet-1k"]),
        ("timm:convnext_tiny.fb_in22k_ft_in1k", ["ImageNet-1k", "ImageNet-21k"]),
        ("timm:convnext_tiny.in12k", ["ImageNet-21k"]),
        ("timm:vit_base_patch16_clip_224.openai", ["web images"]),
        ("timm:vit_base_patch16_clip_224.laion2b_ft_in1k", ["ImageNet-1k", "web images"]),
        ("torchvision:ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1", ["ImageNet-1k", "web images"]),
        ("timm:vit_small_patch14_dinov2.lvd142m", ["web images"]),
        ("file:3c78b436c42fed0f", ["ImageNet-1k"]),
        ("file:0123456789abcdef", None),
        ("timm:resnet50.mine", None),
    ],
)
def test_the_librarys_tag_tells_the_set(weights: str, sets: list[str] | None) -> None:
    assert pretraining_sets(weights) == sets


def test_known_pairs_are_told_with_their_source() -> None:
    birds = pretraining_note("torchvision:GoogLeNet_Weights.IMAGENET1K_V1", "cub200")
    assert "22 of the 5,794 test photos" in birds
    assert "guopei.github.io" in birds
    both = pretraining_note("timm:convnext_tiny.fb_in22k_ft_in1k", "dogs")
    assert both.count("Stanford Dogs was made of ImageNet's photos") == 1
    assert "Radford" in pretraining_note("timm:vit_base_patch16_clip_224.openai", "sop")
    flowers = pretraining_note("timm:tf_efficientnet_lite0.in1k", "flowers102")
    assert "two of ImageNet-1k's classes are flowers" in flowers
    assert "share nothing" in pretraining_note("timm:convnext_tiny.in12k", "omniglot_mini")
    other = pretraining_note("timm:tf_efficientnet_lite0.in1k", "sop")
    assert "no photo in common with sop is known, which does not mean that there is none" in other
    assert "is not known" in pretraining_note("file:0123456789abcdef", "cub200")


def test_the_table_names_datasets_that_there_are() -> None:
    assert {name for _, name in KNOWN} <= set(dataset_names())
    assert all(overlap.source for overlap in KNOWN.values())


def test_a_page_says_it_once_for_each_weights_and_nothing_of_random_ones() -> None:
    records = [record("s", seed, {"map@r": 0.5}) for seed in range(3)]
    assert contamination_notes(build_leaderboard("t", records, [])) == []
    changed = [
        one.model_copy(
            update={
                "protocol": {**one.protocol, "weights": "timm:tf_efficientnet_lite0.in1k"},
                "experiment": one.experiment.model_copy(update={"data": DataConfig(name="dogs")}),
            }
        )
        for one in records
    ]
    notes = contamination_notes(build_leaderboard("t", changed, []))
    assert len(notes) == 1
    assert "the test photos and classes are known from pretraining" in notes[0]
