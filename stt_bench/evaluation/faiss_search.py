"""Short lists by FAISS: the one searcher of `coarse` that is not torch's."""

from collections.abc import Sequence

import numpy as np
import torch

from stt_bench.evaluation import coarse
from stt_bench.evaluation.backends import load_faiss
from stt_bench.evaluation.checks import blocks
from stt_bench.evaluation.coarse import Found, Part, Queries, TorchSearch

# Beyond this many neighbours FAISS is slower than a whole sort, and refuses to work on a GPU.
FAISS_MAX_NEIGHBOURS = 2048
FAISS_QUERIES = 4096
FAISS_ROOM = 2**28  # bytes of a GPU's memory that FAISS works in; its own default is 1.5 GiB


class FaissSearch(TorchSearch):
    """Short lists by a FAISS flat search, on the CPU or sharded over GPUs.

    All parts share what FAISS allocates of a GPU (`resources`), which goes with the searcher.
    """

    copies = 2

    def __init__(
        self,
        inner_product: bool,
        tile_bytes: int,
        device: str | torch.device,
        gpus: Sequence[int] = (),
    ) -> None:
        """Search on the GPUs of these numbers, or on the CPU; count on `device`."""
        super().__init__(inner_product, tile_bytes, device)
        self.gpus, self.resources = list(gpus), []
        if gpus:
            faiss = load_faiss("The search")
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()  # what torch keeps of the memory FAISS would not get
            for _ in gpus:
                self.resources.append(faiss.StandardGpuResources())
                self.resources[-1].setTempMemory(FAISS_ROOM)

    def load(self, rows: np.ndarray, sizes: np.ndarray) -> Part:
        """Prepare the rows, and a FAISS index that holds them."""
        faiss = load_faiss("The search")
        part = super().load(rows, sizes)
        kind = faiss.IndexFlatIP if self.inner_product else faiss.IndexFlatL2
        part.index = kind(rows.shape[1])
        if self.gpus:
            options = faiss.GpuMultipleClonerOptions()
            options.shard = True
            part.index = faiss.index_cpu_to_gpu_multiple_py(
                self.resources, part.index, options, self.gpus
            )
        part.index.add(rows[: len(sizes)])
        return part

    def nearest(self, queries: Queries, part: Part, count: int) -> Found:
        """Yield blocks of queries with the distances and places of their `count` nearest rows."""
        if count > min(FAISS_MAX_NEIGHBOURS, coarse.SORTED_SHARE * len(part)):
            yield from super().nearest(queries, part, count)
            return
        for block in blocks(len(queries), FAISS_QUERIES):
            values, places = part.index.search(queries.rows[block], count)
            yield block, 1.0 - values if self.inner_product else values, places
