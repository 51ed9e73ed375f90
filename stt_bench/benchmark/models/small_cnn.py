"""The small convolutional network of the Fashion-MNIST study."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from stt_bench.benchmark.system.errors import BenchError

SMALLEST_INPUT = 11
"""Pixels: three unpadded 3×3 convolutions of strides 2, 1, 2 leave 1×1 of 11×11."""


class SmallCNN(nn.Module):
    """Three 3×3 convolutions without padding, each with ReLU, then global average pooling.

    28×28 -> 16 × 13×13 -> 32 × 11×11 -> 64 × 5×5 -> 64 features. On one channel, with a linear
    embedding head of 64, it has 27,456 parameters.
    """

    def __init__(self, channels: int, size: int) -> None:
        """Build for images of `channels` channels and `size` pixels a side."""
        super().__init__()
        if size < SMALLEST_INPUT:
            raise BenchError(
                f"input.size: small_cnn needs at least {SMALLEST_INPUT} pixels, not {size}"
            )
        self.conv1 = nn.Conv2d(channels, 16, 3, stride=2)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.conv3 = nn.Conv2d(32, 64, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (B, 64) features of (B, C, S, S) images."""
        features: Tensor = self.forward_head(self.forward_features(images))
        return features

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last feature map, (B, 64, S', S')."""
        x = functional.relu(self.conv1(images))
        x = functional.relu(self.conv2(x))
        return functional.relu(self.conv3(x))

    def forward_head(self, feature_map: Tensor) -> Tensor:
        """Return the map's mean over its pixels."""
        return feature_map.mean(dim=(2, 3))
