"""What did the model use? Attribution methods behind one interface; METHODS is their registry."""

from infant_fer.explain.integrated_gradients import IntegratedGradients
from infant_fer.explain.occlusion import Occlusion
from infant_fer.explain.saliency import Method, SaliencyMap, Score
from infant_fer.explain.smoothgrad import SmoothGrad, SmoothGradSquared

__all__ = ["METHODS", "Method", "SaliencyMap", "Score"]

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (SmoothGrad, SmoothGradSquared, IntegratedGradients, Occlusion)
}
