"""The commands `stt-bench cache ...`: the frozen features that are kept on disk."""

from __future__ import annotations

import typer

cache = typer.Typer(
    help="See, or remove, the frozen features that are kept on disk.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@cache.command("list")
def list_features() -> None:
    """Show the networks whose frozen part's output is kept, a line each.

    Network, layer, size of the input, images (or views of them), MiB, folder, separated by tabs.

    - `stt-bench cache list`
    """
    from stt_bench.benchmark.features.store import features_folder, kept_on_disk

    kept = list(kept_on_disk())
    for one in kept:
        prepared = one.key.get("input")
        size = prepared.get("size", "?") if isinstance(prepared, dict) else "?"
        print(
            one.key.get("network", "?"),
            one.key.get("layer", "?"),
            f"{size} px",
            f"{one.rows:,}",
            f"{one.bytes / 2**20:,.1f} MiB",
            one.folder,
            sep="\t",
        )
    if not kept:
        print(f"nothing is kept in {features_folder()}")


@cache.command("clear")
def clear_features() -> None:
    """Remove all frozen features; they are computed again where they are needed.

    - `stt-bench cache clear`
    """
    from stt_bench.benchmark.features.store import clear_disk, kept_on_disk
    from stt_bench.benchmark.system.errors import BenchError

    before = sum(one.bytes for one in kept_on_disk())
    clear_disk()
    left = list(kept_on_disk())
    freed = before - sum(one.bytes for one in left)
    print(f"{freed / 2**20:,.1f} MiB of frozen features removed")
    if left:
        raise BenchError(
            f"{left[0].folder}: cannot be removed: see who may write there, or whether another "
            "stt-bench writes it just now, then run the command again"
        )
