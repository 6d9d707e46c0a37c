"""The figures of one checkpoint on one split of the infants' table, beside the baselines'."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from infant_fer.faces import BLENDSHAPE_COUNT
from infant_fer.labels import AFFECTS, AGE_GROUPS
from infant_fer.models.infant_face import InfantFaceOutput
from infant_fer.training import metrics
from infant_fer.training.manifest import UNKNOWN, Manifest

SOURCES = ("utkface", "web", "fer2013")
NEUTRAL, NEGATIVE = AFFECTS.index("neutral"), AFFECTS.index("negative")


def accuracies(predicted: np.ndarray, manifest: Manifest, chosen: np.ndarray) -> dict[str, metrics.Share]:
    """Accuracy per source and over all of the chosen rows that have an affect; `predicted` is (N,) over the manifest."""
    rated = chosen & (manifest.affect != UNKNOWN)
    shares = {
        source: metrics.accuracy(predicted[rows], manifest.affect[rows])
        for source in SOURCES
        if (rows := rated & (manifest.source == source)).any()
    }
    return {**shares, "all": metrics.accuracy(predicted[rated], manifest.affect[rated])}


def baselines(geometry: np.ndarray, found: np.ndarray, manifest: Manifest) -> dict[str, np.ndarray]:
    """(N,) predictions of the majority class, and of two classifiers of blendshapes fitted on the train rows."""
    train = (manifest.split == "train") & (manifest.affect != UNKNOWN)
    blendshapes = geometry[:, :BLENDSHAPE_COUNT]
    majority = np.bincount(manifest.affect[train]).argmax()
    models = {
        "logistic regression on blendshapes": make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000)),
        "boosted trees on blendshapes": HistGradientBoostingClassifier(max_iter=200, learning_rate=0.06, random_state=0),
    }
    answers = {"majority class": np.full(len(manifest), majority)}
    for name, model in models.items():
        model.fit(blendshapes[train & found], manifest.affect[train & found])
        answers[name] = np.where(found, model.predict(blendshapes), majority)
    return answers


def head_figures(output: InfantFaceOutput, temperature: float, manifest: Manifest, chosen: np.ndarray) -> dict[str, float]:
    """What the card says beside accuracy, over the chosen rows: balance, ranking, calibration, valence and arousal."""
    rated = chosen & (manifest.affect != UNKNOWN)
    probabilities, truth = metrics.softmax(output.logits.numpy()[rated] / temperature), manifest.affect[rated]
    pair = np.isin(truth, (NEUTRAL, NEGATIVE))
    pair_score = np.log(probabilities[pair, NEGATIVE] / probabilities[pair, NEUTRAL].clip(1e-12))
    known = chosen & ~np.isnan(manifest.valence_arousal[:, 0]) & (manifest.usable == 1)
    valence, arousal = output.valence_arousal.numpy()[known].T
    return {
        "balanced accuracy": metrics.balanced_accuracy(probabilities.argmax(1), truth),
        "AUC negative against neutral": metrics.auc(pair_score, truth[pair] == NEGATIVE),
        "negative log-likelihood": metrics.negative_log_likelihood(probabilities, truth),
        "expected calibration error": metrics.calibration_error(probabilities, truth),
        "concordance of valence": metrics.concordance(valence, manifest.valence_arousal[known, 0]),
        "concordance of arousal": metrics.concordance(arousal, manifest.valence_arousal[known, 1]),
    }


def recalls(predicted: np.ndarray, manifest: Manifest, chosen: np.ndarray) -> dict[str, metrics.Share]:
    """Accuracy per true class and per age group over the chosen rows."""
    rated = chosen & (manifest.affect != UNKNOWN)
    groups = {f"{name} faces": rated & (manifest.affect == index) for index, name in enumerate(AFFECTS)}
    groups |= {f"age group {name}": rated & (manifest.age == index) for index, name in enumerate(AGE_GROUPS)}
    return {name: metrics.accuracy(predicted[rows], manifest.affect[rows]) for name, rows in groups.items() if rows.any()}
