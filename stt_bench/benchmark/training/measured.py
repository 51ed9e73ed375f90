"""What is logged of a step: its losses, how its embeddings lie, gradients and learning rate."""

from __future__ import annotations

from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.health import (
    COLLAPSED_SPREAD,
    BatchPairs,
    batch_health,
    gradient_norm,
)
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.optimization import learning_rate_factor
from stt_bench.benchmark.training.scaling import many
from stt_bench.benchmark.training.step import Step


def measured(
    run: Run,
    learner: Learner,
    step: int,
    taken: Step,
    pairs: BatchPairs,
    reporter: Reporter,
) -> dict[str, float]:
    """Return what is logged of a step (from 0), once its gradients are there.

    `pairs` are those of the step's embeddings.
    """
    objective = learner.objective
    entry: dict[str, float] = {"step": step + 1, "loss": float(taken.loss)}
    if run.experiment.phases:
        entry["phase"] = objective.phase(step)
    tensors = {**taken.parts, **objective.diagnostics(step)}
    entry |= {name: float(tensor.detach()) for name, tensor in tensors.items()}
    entry |= batch_health(pairs)
    entry["gradient_norm"] = gradient_norm(learner.trained)
    rate = run.experiment.optimizer.lr * learning_rate_factor(run.experiment, step)
    entry["learning_rate"] = rate  # of heads and losses, without the factors of the rest
    if (skipped := learner.scaler.skipped) is not None:
        entry["skipped_steps"] = skipped
        if many(skipped, step + 1):
            reporter.once(
                f"{run.name}: float16 skips many steps, whose gradients are beyond it "
                "(skipped_steps in metrics.jsonl): use train.precision: bfloat16, or lower "
                "optimizer.lr",
                warn=True,
            )
    if entry.get("terms"):  # from now on they need not be noted
        learner.terms[objective.phase(step)] = entry["terms"]
    if learner.collapsed_at is None and entry.get("spread", 1.0) < COLLAPSED_SPREAD:
        learner.collapsed_at = step + 1
        reporter.warn(
            f"{run.name}: the embedding has collapsed at step {step + 1}: all images "
            f"lie within {entry['spread']:.0e} of their mean norm; lower optimizer.lr, use "
            "another loss first (priming, batch_all_triplet), or add softmax_head: true"
        )
    return entry
