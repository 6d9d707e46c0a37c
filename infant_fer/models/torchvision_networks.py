"""GoogLeNet and ShuffleNet-v2 ×2 of torchvision among the networks of timm, which lacks them. Importing this registers them.

timm needs torchvision. The names and weights are torchvision's; checkpoints say `"model_type": "timm_wrapper"` like others,
and only this package can load them.
"""

from __future__ import annotations

from timm.models import register_model
from torch import nn
from torchvision import models


@register_model
def googlenet(pretrained: bool = False, num_classes: int = 1000, **of_timm) -> nn.Module:
    """Return a GoogLeNet with random weights (Szegedy et al. 2014), without its two further classifiers for training."""
    _check_unset(of_timm)
    return models.googlenet(weights=None, aux_logits=False, init_weights=True, num_classes=num_classes)


@register_model
def shufflenet_v2_x2_0(pretrained: bool = False, num_classes: int = 1000, **of_timm) -> nn.Module:
    """Return a ShuffleNet-v2 of double width with random weights (Ma et al. 2018)."""
    _check_unset(of_timm)
    return models.shufflenet_v2_x2_0(weights=None, num_classes=num_classes)


def _check_unset(of_timm: dict[str, object]) -> None:
    """Raise TypeError for an argument that timm's networks take and these do not; timm hands on some as None."""
    given = sorted(name for name, value in of_timm.items() if value is not None)
    if given:
        raise TypeError(f"this network of torchvision takes no {given[0]}")
