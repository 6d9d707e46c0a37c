"""What a checkpoint must beat: the majority class, and two classifiers of MediaPipe's blendshapes."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from infant_fer.faces import BLENDSHAPE_COUNT
from infant_fer.training.manifest import UNKNOWN, Manifest


def baselines(geometry: np.ndarray, found: np.ndarray, manifest: Manifest) -> dict[str, np.ndarray]:
    """(N,) predictions of the majority class, and of two classifiers of blendshapes fitted on the train rows."""
    train = (manifest.split == "train") & (manifest.affect != UNKNOWN)
    blendshapes = geometry[:, :BLENDSHAPE_COUNT]
    majority = np.bincount(manifest.affect[train]).argmax()
    models = {
        "logistic regression on blendshapes": make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000)),
        "boosted trees on blendshapes": HistGradientBoostingClassifier(
            max_iter=200, learning_rate=0.06, random_state=0
        ),
    }
    answers = {"majority class": np.full(len(manifest), majority)}
    for name, model in models.items():
        model.fit(blendshapes[train & found], manifest.affect[train & found])
        answers[name] = np.where(found, model.predict(blendshapes), majority)
    return answers
