"""Fit the baselines that a checkpoint must beat: the majority class, and two classifiers of MediaPipe's blendshapes."""

from __future__ import annotations

import numpy as np

from infant_fer.face import BLENDSHAPE_COUNT


def baseline_probabilities(
    geometry: np.ndarray, truth: np.ndarray, classes: int, new_geometry: np.ndarray, new_found: np.ndarray
) -> dict[str, np.ndarray]:
    """Return (M, C) probabilities of the majority class, logistic regression and boosted trees on blendshapes.

    Fitted on (N, G) geometry features and (N,) indices of `classes`, applied to (M, G) `new_geometry`; where no face was
    found, (M,) bool `new_found`, a baseline gives the frequencies of the classes. Empty when a class has no face to fit on.
    """
    if len(np.unique(truth)) < classes:
        return {}
    frequencies = np.bincount(truth) / len(truth)
    probabilities = {"majority class": np.tile(frequencies, (len(new_geometry), 1))}
    for name, model in _models().items():
        model.fit(geometry[:, :BLENDSHAPE_COUNT], truth)
        given = model.predict_proba(new_geometry[:, :BLENDSHAPE_COUNT]).astype(float)
        given /= given.sum(1, keepdims=True)  # rounded to float32 inside
        probabilities[name] = np.where(new_found[:, None], given, frequencies)
    return probabilities


def _models() -> dict:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "logistic regression on blendshapes": make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000)),
        "boosted trees on blendshapes": HistGradientBoostingClassifier(
            max_iter=200, learning_rate=0.06, random_state=0
        ),
    }
