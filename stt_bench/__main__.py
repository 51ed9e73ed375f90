"""``python -m stt_bench``: the command line."""

from stt_bench.benchmark.cli.main import main

if __name__ == "__main__":
    main()
