"""What did the model look at? SmoothGrad, integrated gradients and occlusion, all with one signature and one result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infant_fer.explain.attribution import integrated_gradients, occlusion
from infant_fer.explain.saliency import SaliencyMap
from infant_fer.explain.smoothgrad import smoothgrad, smoothgrad_squared

__all__ = ["METHODS", "Method", "SaliencyMap", "integrated_gradients", "occlusion", "smoothgrad", "smoothgrad_squared"]


@dataclass(frozen=True)
class Method:
    """A way to explain an answer: its name for people, and `run(score, pixel_values, target, n, noise, seed)`."""

    title: str
    run: Callable[..., Iterator[SaliencyMap]]


METHODS = {
    "smoothgrad": Method("SmoothGrad", smoothgrad),
    "smoothgrad_squared": Method("SmoothGrad squared", smoothgrad_squared),
    "integrated_gradients": Method("Integrated gradients", integrated_gradients),
    "occlusion": Method("Occlusion", occlusion),
}
