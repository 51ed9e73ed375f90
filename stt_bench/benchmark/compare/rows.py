"""The rows that are compared: by default one or two of each kind of loss.

They are those of the shipped table `frozen_cub50_lite0`, so that what is found can be laid beside
it. Ten of them fit into half an hour with a search each; the choice was made before any data were
looked at that `compare` meets:

- the network as it is, and with the head as it starts: what training must better;
- Softmax, with and without unit length: the baselines;
- normalised Softmax, and Proxy-Anchor: classifiers and proxies, one each;
- contrastive, hard and semi-hard triplet, multi-similarity: pairs and triplets, by how they choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stt_bench.benchmark.config.table_files import SHIPPED_FOLDER
from stt_bench.benchmark.config.yaml_lines import read_yaml
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean

UNTRAINED = ("untrained", "untrained_head", "untrained_pca")
BASELINE = "softmax"
CHOSEN = (
    "softmax_unnormalized",
    BASELINE,
    "normalized_softmax",
    "proxy_anchor",
    "contrastive",
    "hard_triplet",
    "semi_hard_triplet",
    "multi_similarity",
)
_CATALOGUE = "frozen_cub50_lite0.yaml"


def catalogue() -> dict[str, dict[str, Any]]:
    """Return all rows there are to choose from, by name: the fields in which each differs."""
    rows: dict[str, dict[str, Any]] = read_yaml(SHIPPED_FOLDER / _CATALOGUE)[0]["rows"]
    return rows


def chosen_rows(names: Sequence[str] | None, head_start: str) -> dict[str, dict[str, Any]]:
    """Return the rows of a comparison by name, in the catalogue's order.

    Softmax and the untrained network, with and without a head, are always among them.

    Args:
        names: the others; None: `CHOSEN`.
        head_start: what the heads of trained rows start from.

    Raises:
        BenchError: there is no such row.
    """
    known = catalogue()
    for name in names or ():
        if name not in known:
            raise BenchError(f"--rows: there is no row '{name}'; {did_you_mean(name, known)}")
    start = "untrained_pca" if head_start == "pca" else "untrained_head"
    wanted = {UNTRAINED[0], start, BASELINE, *(names or CHOSEN)}
    wanted -= {"untrained_head", "untrained_pca"} - {start}  # heads of which no row starts
    return {name: row for name, row in known.items() if name in wanted}
