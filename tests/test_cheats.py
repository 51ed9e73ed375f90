"""Every planted cheat, and the test that shows what the product says of it.

The first part are the findings that began the work on evidence and other cheats on a record, the
second the defects of published code. A test that is renamed or taken away without another in its
place is missed here.
"""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

CHEATS = {
    "unnormalised vectors are ranked by their length": [
        "evaluation/test_planted_defects.py::test_longer_vectors_gain_nothing_by_cosine",
    ],
    "a loss ends below the untrained network and is called a gain": [
        "benchmark/leaderboards/test_planted_comparisons.py"
        "::test_softmax_that_is_not_trained_is_below_the_untrained_network",
    ],
    "the weakest Softmax row is the baseline": [
        "benchmark/leaderboards/test_planted_comparisons.py"
        "::test_a_weak_baseline_gives_its_gain_away",
        "benchmark/leaderboards/test_planted_comparisons.py"
        "::test_frozen_batch_norm_is_credited_to_no_loss",
        "benchmark/leaderboards/test_evidence.py::test_whatever_is_not_the_loss_must_agree",
    ],
    "older code made the record": [
        "benchmark/verification/test_planted_cheats.py"
        "::test_a_record_of_other_code_is_marked_and_not_compared",
        "benchmark/leaderboards/test_proof.py"
        "::test_exactly_the_rows_that_changed_code_concerns_are_marked",
    ],
    "one row of many is significant by chance": [
        "benchmark/leaderboards/test_planted_comparisons.py"
        "::test_of_seventeen_rows_of_noise_none_is_marked",
        "benchmark/statistics/test_simulated.py::test_a_table_without_a_difference_is_rarely_marked",
    ],
    "the spread over seeds is printed as that over classes": [
        "benchmark/statistics/test_simulated.py"
        "::test_the_spread_over_seeds_says_nothing_of_new_classes",
    ],
    "settings are chosen by looks at the test split": [
        "benchmark/verification/test_planted_cheats.py::test_looks_at_the_test_split_are_counted",
        "benchmark/leaderboards/test_proof.py::test_seeds_under_other_settings_are_readings_only",
    ],
    "one loss is tuned longer than another": [
        "benchmark/tuning/test_tune.py::test_every_row_gets_the_same_number_of_trials",
        "benchmark/tuning/test_tune.py::test_a_point_that_the_search_did_not_choose_does_not_count",
    ],
    "one recipe decides the order of the losses": [
        "test_shipped_tables.py::test_a_frozen_table_compares_all_losses_under_one_recipe",
        "benchmark/leaderboards/test_tuning_page.py"
        "::test_the_page_shows_trials_default_winners_and_the_best_of_n",
    ],
    "a gain on all classes is told as one on the rare classes": [
        "benchmark/leaderboards/test_halves.py"
        "::test_each_half_has_its_mean_and_its_difference_with_an_interval",
        "test_shipped_tables.py::test_logit_adjustment_is_for_batches_as_the_data_are",
    ],
    "an edited metric": [
        "benchmark/verification/test_planted_cheats.py"
        "::test_a_careless_edit_is_named_by_the_checksum",
        "benchmark/verification/test_verify_records.py"
        "::test_an_edited_metric_is_named_though_all_in_the_record_fits",
        "benchmark/verification/test_reproduce.py"
        "::test_an_edited_metric_is_caught_where_the_embeddings_are_gone",
    ],
    "an edited fingerprint": [
        "benchmark/verification/test_planted_cheats.py::test_an_edited_fingerprint_is_recomputed",
        "benchmark/store/test_records.py::test_a_record_that_was_changed_is_not_believed",
    ],
    "edited class values": [
        "benchmark/store/test_records.py::test_shares_of_the_classes_must_give_the_metric",
        "benchmark/store/test_records.py"
        "::test_sums_and_counts_of_the_classes_must_be_those_of_queries",
    ],
    "an edited accuracy": [
        "benchmark/store/test_records.py::test_what_became_of_each_class_must_give_the_accuracy",
    ],
    "edited counts of near-duplicates": [
        "benchmark/scoring/test_duplicate_scores.py::test_edited_counts_are_found_in_the_images",
        "benchmark/leaderboards/test_proof.py"
        "::test_records_that_disagree_on_near_duplicates_are_named",
    ],
    "an edited number of looks at the test split": [
        "benchmark/leaderboards/test_proof.py"
        "::test_readings_are_counted_in_the_ledger_whatever_the_records_say",
    ],
    "test images replaced by others of the same file size": [
        "benchmark/test_replaced_images.py"
        "::test_replaced_images_are_not_taken_for_those_of_the_record",
        "benchmark/verification/test_planted_cheats.py"
        "::test_other_data_under_the_same_name_are_another_protocol",
    ],
    "embeddings replaced together with their hash": [
        "benchmark/verification/test_verify_records.py"
        "::test_embeddings_that_were_replaced_with_their_hash_are_not_those_of_the_record",
    ],
    "the same photo in train and test": [
        "benchmark/scoring/test_duplicate_scores.py::test_copies_are_counted_and_left_out",
        "benchmark/datasets/test_near_duplicates.py::test_a_copy_in_the_test_split_is_found",
        "benchmark/datasets/test_near_duplicates.py::test_data_verify_names_the_pairs",
    ],
    "one photo under two labels": [
        "benchmark/datasets/test_near_duplicates.py"
        "::test_copies_of_one_class_within_the_test_split_are_no_label_noise",
    ],
    "pretraining has seen the test set": [
        "benchmark/leaderboards/test_pretraining.py::test_known_pairs_are_told_with_their_source",
    ],
    "one run is called better": [
        "benchmark/leaderboards/test_leaderboard.py"
        "::test_one_seed_gives_no_verdict_and_equal_seeds_give_one",
    ],
    "the best 3 of 10 seeds": [
        "benchmark/statistics/test_simulated.py"
        "::test_the_best_three_of_ten_seeds_would_be_marked_far_too_often",
        "benchmark/leaderboards/test_proof.py"
        "::test_the_best_three_of_ten_seeds_are_told_by_the_ledger_and_without_it",
        "benchmark/leaderboards/test_evidence.py"
        "::test_a_row_whose_seeds_may_have_been_picked_gets_no_verdict",
        "benchmark/verification/test_planted_cheats.py::test_a_seed_that_was_dropped_is_missed",
    ],
    "a better seed under the number of a worse one": [
        "benchmark/verification/test_planted_cheats.py"
        "::test_a_better_seed_under_the_number_of_a_worse_one_is_told",
    ],
    "the record of one row in the place of another": [
        "benchmark/verification/test_planted_cheats.py"
        "::test_a_record_in_the_place_of_another_is_refused",
        "benchmark/leaderboards/test_proof.py"
        "::test_a_record_in_the_place_of_another_is_told_by_the_ledger",
    ],
    # Defects of published code.
    "weights are selected on the test split": [
        "benchmark/training/test_validation.py"
        "::test_what_is_held_out_does_not_train_and_the_test_split_stays",
        "benchmark/tuning/test_trial.py::test_the_test_split_is_not_read",
    ],
    "a split for classification is used for retrieval": [
        "benchmark/datasets/test_item_rules.py::test_classes",
    ],
    "an image is listed in train and in test": [
        "benchmark/datasets/test_item_rules.py::test_duplicates",
    ],
    "a dataset is not whole": [
        "benchmark/datasets/test_item_rules.py::test_counts_say_expected_and_found"
    ],
    "query and gallery are merged": [
        "evaluation/test_planted_defects.py::test_query_and_gallery_are_not_merged",
    ],
    "the gallery contains the query": [
        "evaluation/test_planted_defects.py::test_a_query_in_its_own_gallery_does_not_find_itself",
    ],
    "the first neighbour is dropped in place of the query": [
        "evaluation/test_planted_defects.py::test_the_query_is_left_out_by_its_id_not_by_its_rank",
    ],
    "K of Recall@K is one off": [
        "evaluation/test_planted_defects.py::test_k_counts_from_the_nearest_other_item",
    ],
    "MAP@R cannot reach 1": [
        "evaluation/test_planted_defects.py::test_perfect_clusters_score_one_in_map_at_r",
    ],
    "a query without a positive is a hit": [
        "evaluation/test_planted_defects.py"
        "::test_a_query_without_a_positive_is_left_out_and_no_hit",
    ],
    "items of negative similarity are not retrieved": [
        "evaluation/test_planted_defects.py::test_negative_similarities_rank_like_any",
    ],
    "ties go to the item that is listed first": [
        "evaluation/test_planted_defects.py::test_one_point_for_all_scores_chance_and_not_one",
        "evaluation/test_planted_defects.py::test_the_order_of_the_items_decides_nothing",
    ],
    "NMI of random clusters is printed without its floor": [
        "evaluation/test_planted_defects.py::test_nmi_of_chance_stands_beside_it",
    ],
    "another backbone or embedding size in one ranking": [
        "benchmark/test_suite.py::test_rows_of_another_protocol_are_marked_and_never_best",
    ],
    "a grey image reaches a network of three channels": [
        "benchmark/datasets/test_transforms.py::test_one_channel_is_repeated",
    ],
    "rounding makes the distance of duplicates NaN, which ranks last": [
        "evaluation/test_retrieval_metrics.py::test_duplicate_pairs_have_recall_one",
    ],
    "numbers of a paper are ranked among those that were measured": [
        "benchmark/test_suite.py::test_rows_stand_by_their_score_and_published_numbers_apart",
    ],
    "numbers of a page are copied by hand": ["test_results.py::test_pages_are_generated"],
}


SKIPPED = re.compile(r"pytest\.(mark\.(skip|skipif|xfail|gpu|data|ray)|skip|xfail|importorskip)\b")


@cache
def _tests_in(file: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


@cache
def _skips(file: str) -> bool:
    """Tell whether a file skips its tests all together."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return any(
        SKIPPED.search(ast.unparse(node))
        for node in tree.body
        if not isinstance(node, ast.FunctionDef | ast.ClassDef)
    )


def _checks(test: ast.FunctionDef) -> bool:
    """Tell whether a test can fail: by an assert that says something, or an expected error."""
    return any(
        (isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant))
        or (isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.raises")
        for node in ast.walk(test)
    )


@pytest.mark.parametrize("cheat", CHEATS)
def test_each_cheat_has_its_tests(cheat: str) -> None:
    for place in CHEATS[cheat]:
        file, _, name = place.partition("::")
        assert Path(file).name.startswith("test_"), place
        assert name.startswith("test_"), place
        assert name in _tests_in(file), place
        assert not _skips(file), place
        assert not SKIPPED.search(ast.unparse(_tests_in(file)[name])), place
        assert _checks(_tests_in(file)[name]), place


@pytest.mark.parametrize(
    "text",
    [
        "def test_it(): pass",
        "def test_it(): assert True",
        "@pytest.mark.skip\ndef test_it(): assert 1 < 2",
        "@pytest.mark.xfail(reason='')\ndef test_it(): assert 1 < 2",
        "def test_it():\n    pytest.skip('')\n    assert 1 < 2",
        "pytestmark = pytest.mark.skipif(True, reason='')\ndef test_it(): assert 1 < 2",
        "pytest.importorskip('none')\ndef test_it(): assert 1 < 2",
        "def it(): assert 1 < 2",
    ],
)
def test_a_test_that_cannot_fail_is_none(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "TESTS", tmp_path)
    name = f"{tmp_path.name}.py"
    (tmp_path / name).write_text(f"import pytest\n{text}\n", encoding="utf-8")
    monkeypatch.setitem(CHEATS, "planted", [f"{name}::test_it"])
    with pytest.raises(AssertionError, match=name):
        test_each_cheat_has_its_tests("planted")
