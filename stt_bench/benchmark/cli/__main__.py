"""``python -m stt_bench.benchmark.cli``: the same command line as ``python -m stt_bench``.

From the root of a checkout it is ``python -m benchmark.cli``, too, by the link there.
"""

from stt_bench.benchmark.cli.main import main

if __name__ == "__main__":
    main()
