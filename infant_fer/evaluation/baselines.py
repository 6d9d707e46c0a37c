"""What a checkpoint must beat: the majority class, and two classifiers of MediaPipe's blendshapes."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from infant_fer.face import BLENDSHAPE_COUNT


def fitted(
    geometry: np.ndarray, truth: np.ndarray, classes: int, asked: np.ndarray, found: np.ndarray
) -> dict[str, np.ndarray]:
    """(M, C) probabilities of the majority class's baseline, logistic regression and boosted trees on blendshapes.

    Fitted on (N, G) geometry features and (N,) indices of `classes`; answers for (M, G) `asked`, the shares of the classes
    where no face was `found`. None at all when a class has no face to fit on.
    """
    if len(np.unique(truth)) < classes:
        return {}
    shares = np.bincount(truth) / len(truth)
    answers = {"majority class": np.tile(shares, (len(asked), 1))}
    for name, model in _models().items():
        model.fit(geometry[:, :BLENDSHAPE_COUNT], truth)
        answers[name] = np.where(found[:, None], model.predict_proba(asked[:, :BLENDSHAPE_COUNT]), shares)
    return answers


def _models() -> dict:
    return {
        "logistic regression on blendshapes": make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000)),
        "boosted trees on blendshapes": HistGradientBoostingClassifier(
            max_iter=200, learning_rate=0.06, random_state=0
        ),
    }
