"""Frozen features: what the frozen part of a network makes of an image, computed once and kept."""
