"""stt-bench: train, embed, evaluate and report deep-metric-learning experiments."""

__version__ = "0.1.0"
