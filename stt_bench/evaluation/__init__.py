"""The metrics: retrieval, clustering and classification, computed from arrays alone.

Everything here takes arrays and returns a flat dictionary of numbers. It knows nothing of
losses, models, configs or disk, so it scores embeddings of any origin.
"""

from stt_bench.evaluation.approximate import approximate_retrieval_metrics
from stt_bench.evaluation.backends import chosen_backend, on_device
from stt_bench.evaluation.by_distances import reranked_scores, scores_of_distances
from stt_bench.evaluation.checks import NoPositiveError
from stt_bench.evaluation.class_values import ClassValues, class_values
from stt_bench.evaluation.classification import classification_metrics, confusion_matrix
from stt_bench.evaluation.clustering import clustering_metrics
from stt_bench.evaluation.query_scores import QueryScores
from stt_bench.evaluation.reranking import expanded_queries, reranked_distances
from stt_bench.evaluation.retrieval import retrieval_metrics, retrieval_scores
from stt_bench.evaluation.verification import (
    VerificationCurve,
    curve_of_pairs,
    verification_curve,
    verification_metrics,
)

__all__ = [
    "ClassValues",
    "NoPositiveError",
    "QueryScores",
    "VerificationCurve",
    "approximate_retrieval_metrics",
    "chosen_backend",
    "class_values",
    "classification_metrics",
    "clustering_metrics",
    "confusion_matrix",
    "curve_of_pairs",
    "expanded_queries",
    "on_device",
    "reranked_distances",
    "reranked_scores",
    "retrieval_metrics",
    "retrieval_scores",
    "scores_of_distances",
    "verification_curve",
    "verification_metrics",
]
