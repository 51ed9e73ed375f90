"""What an embedding set and a record say of test images that training has too."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator


class DuplicateCounts(BaseModel):
    """How many pairs of near-duplicate images a dataset has, found by which method."""

    model_config = ConfigDict(extra="forbid")

    method: str  # names the rules by which images are alike: see `datasets.near_duplicates`
    items: int = Field(ge=0)
    """Of the test split."""
    pairs_exact: int = Field(ge=0)
    """Of a test image and one of the training part with the same content."""
    pairs_similar: int = Field(ge=0)
    """Of a test image and one of the training part that shows the same picture."""
    pairs_across_classes: int = Field(ge=0)
    """Of test images of two classes: one of the two labels is wrong."""


class DuplicateItems(DuplicateCounts):
    """The same, and the ids of the test items that have one in training; in an embedding set."""

    test_ids: list[str]


class DuplicateScores(DuplicateCounts):
    """The same, and the metrics without the test items that have one in training; in a record."""

    test_items: int = Field(ge=0)
    metrics_without: dict[str, FiniteFloat] | None
    """Retrieval and accuracy; None where there is no such item, or nothing left to measure."""

    @model_validator(mode="after")
    def _check(self) -> DuplicateScores:
        if (self.pairs_exact + self.pairs_similar == 0) != (self.test_items == 0):
            raise ValueError("pairs and test_items do not agree")
        if self.test_items > self.items:
            raise ValueError("test_items is more than the test split has items")
        if self.metrics_without is not None and not self.test_items:
            raise ValueError("metrics_without is given, and no test item has a near-duplicate")
        return self
