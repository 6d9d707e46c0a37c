"""GoogLeNet and ShuffleNet-v2 ×2 of torchvision among the networks of timm, which lacks them. Importing this registers them.

timm needs torchvision. The names and weights are torchvision's; checkpoints say `"model_type": "timm_wrapper"` like others,
and only this package can load them.
"""

from __future__ import annotations

from timm.models import register_model
from torch import nn
from torchvision import models


@register_model
def googlenet(
    pretrained: bool = False,
    num_classes: int = 1000,
    pretrained_cfg: None = None,
    pretrained_cfg_overlay: None = None,
    cache_dir: None = None,
) -> nn.Module:
    """Return a GoogLeNet with random weights (Szegedy et al. 2014), without its two further classifiers for training."""
    return models.googlenet(weights=None, aux_logits=False, init_weights=True, num_classes=num_classes)


@register_model
def shufflenet_v2_x2_0(
    pretrained: bool = False,
    num_classes: int = 1000,
    pretrained_cfg: None = None,
    pretrained_cfg_overlay: None = None,
    cache_dir: None = None,
) -> nn.Module:
    """Return a ShuffleNet-v2 of double width with random weights (Ma et al. 2018)."""
    return models.shufflenet_v2_x2_0(weights=None, num_classes=num_classes)
