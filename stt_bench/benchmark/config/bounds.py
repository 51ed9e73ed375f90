"""Bounds of the numbers in a table: beyond all use, so that a slip is told before anything runs."""

from typing import Annotated

from pydantic import Field

LARGEST_SEED = 2**32 - 1
Pixels = Annotated[int, Field(ge=1, le=16_384)]
Steps = Annotated[int, Field(ge=0, le=100_000_000)]
Interval = Annotated[int, Field(ge=1, le=100_000_000)]
Images = Annotated[int, Field(ge=1, le=1_000_000)]
Factor = Annotated[float, Field(ge=0, le=1e9)]
LearningRate = Annotated[float, Field(gt=0, le=1e6)]
Level = Annotated[float, Field(ge=-1000, le=1000)]
CutOff = Annotated[int, Field(ge=1, lt=2**31)]
Studies = Annotated[int, Field(ge=1, le=1000)]
Trials = Annotated[int, Field(ge=1, le=100_000)]
Folds = Annotated[int, Field(ge=2, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
