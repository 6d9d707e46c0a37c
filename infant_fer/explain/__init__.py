"""What did the model use? Attribution methods behind one interface; METHODS is their registry."""

from infant_fer.explain.activation import GradCAM, LayerCAM
from infant_fer.explain.attention import AttentionRelevance, AttentionRollout
from infant_fer.explain.gradients import AbsoluteSmoothGrad, IntegratedGradients, SmoothGrad, SmoothGradSquared
from infant_fer.explain.perturbation import Occlusion, PartOcclusion, Rise
from infant_fer.explain.saliency import Method, SaliencyMap, Score

__all__ = ["METHODS", "Method", "SaliencyMap", "Score"]

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        SmoothGrad,
        AbsoluteSmoothGrad,
        SmoothGradSquared,
        IntegratedGradients,
        Occlusion,
        PartOcclusion,
        GradCAM,
        LayerCAM,
        AttentionRollout,
        AttentionRelevance,
        Rise,
    )
}
