"""The last feature map of a backbone, caught on its way into the global pooling."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def features_and_map(net: Any, images: Tensor) -> tuple[Any, Any]:
    """Return what `net` returns and the map (B, C, H, W) that its last pooling sees, in one pass.

    A network without such a map (a transformer) gives something else in its place.
    """
    if hasattr(net, "forward_features"):  # timm's and our own name the two parts
        feature_map = net.forward_features(images)
        return net.forward_head(feature_map), feature_map
    caught: list[Any] = []
    pools = [module for module in net.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    if pools:
        hook = pools[-1].register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    else:
        # torchvision pools by a function here, right after the last part but the classifier.
        # DenseNet applies a ReLU before, in place: it changes the caught map too, as it should.
        *_, last, _classifier = net.children()
        hook = last.register_forward_hook(lambda *call: caught.append(call[-1]))
    try:
        features = net(images)
    finally:
        hook.remove()
    return features, caught[-1]
