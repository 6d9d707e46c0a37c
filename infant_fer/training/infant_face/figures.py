"""The figures of one checkpoint on one split of the infants' table, beside the baselines'."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from infant_fer import metrics
from infant_fer.data.aligned_dataset import AlignedDataset
from infant_fer.data.labeled_images import UNKNOWN, LabeledImages
from infant_fer.evaluation.baselines import baseline_probabilities
from infant_fer.labels import AFFECTS, AGE_GROUPS
from infant_fer.models.infant_face import InfantFaceModel, InfantFaceOutput
from infant_fer.training.infant_face.data import RecipeData
from infant_fer.training.infant_face.pretraining import emotion_logits, emotion_set
from infant_fer.training.infant_face.rows import outputs

SOURCES = ("utkface", "web", "fer2013")
NEUTRAL, NEGATIVE = AFFECTS.index("neutral"), AFFECTS.index("negative")


def measure(model: InfantFaceModel, data: RecipeData, chosen: np.ndarray) -> dict:
    """Every figure of the card over the chosen rows of one split: accuracies of fusion, streams and baselines, other heads."""
    answer, infants = outputs(model, data.infants), data.infants.pictures
    predictions = {
        "this checkpoint": answer.logits.argmax(1).numpy(),
        "image stream alone": answer.image_logits.argmax(1).numpy(),
        "geometry stream alone": answer.geometry_logits.argmax(1).numpy(),
        **baselines(data.infants),
    }
    split = str(infants.split[chosen][0])
    rated = chosen & (infants.truth != UNKNOWN)
    right = {name: predicted[rated] == infants.truth[rated] for name, predicted in predictions.items()}
    return {
        "accuracy": {name: accuracies(predicted, infants, chosen) for name, predicted in predictions.items()},
        "recall": recalls(predictions["this checkpoint"], infants, chosen),
        "heads": {
            **head_figures(answer, model.config.logit_temperature, infants, chosen),
            **usable_aucs(model, answer, data, split),
        },
        "emotions of FER2013": fer_accuracy(model, data, split),
        "McNemar p": {name: metrics.mcnemar(right["this checkpoint"], other) for name, other in right.items()},
    }


def baselines(dataset: AlignedDataset) -> dict[str, np.ndarray]:
    """Return (N,) predictions fitted on the train rows; where no face was found, the majority's."""
    pictures, geometry, found = dataset.pictures, dataset.geometry, dataset.found
    train = (pictures.split == "train") & (pictures.truth != UNKNOWN) & found
    answers = baseline_probabilities(geometry[train], pictures.truth[train], len(AFFECTS), geometry, found)
    return {name: probabilities.argmax(1) for name, probabilities in answers.items()}


def usable_aucs(model: InfantFaceModel, answer: InfantFaceOutput, data: RecipeData, split: str) -> dict[str, float]:
    """Usable infants of a split against its unusable rows and older faces: above eight years, and four to eight."""
    infants, older = data.infants.pictures.split == split, data.older.pictures.split == split
    scores, usable = answer.usable_logit.numpy()[infants], data.infants.pictures.heads["usable"][infants]
    aucs = {}
    for name, chosen in (
        ("over 8", older & (data.older.pictures.heads["usable"] == 0)),
        ("of 4 to 8", older & (data.older.pictures.heads["usable"] != 0)),
    ):
        others = outputs(model, data.older.rows(chosen)).usable_logit.numpy()
        truth = np.concatenate([usable, np.zeros(len(others))])
        aucs[f"AUC usable infant's face against unusable ones and faces {name}"] = metrics.auc(
            np.concatenate([scores, others]), truth
        )
    return aucs


def fer_accuracy(model: InfantFaceModel, data: RecipeData, split: str) -> metrics.Proportion:
    """Seven emotions of FER2013's public test (dev) or private test (test)."""
    crops, emotion = emotion_set(data.fer.rows(data.fer.pictures.split == split))
    return metrics.accuracy(emotion_logits(model, crops).argmax(1).numpy(), emotion)


def accuracies(predicted: np.ndarray, manifest: LabeledImages, chosen: np.ndarray) -> dict[str, metrics.Proportion]:
    """Accuracy per source and over all of the chosen rows that have an affect; `predicted` is (N,) over the manifest."""
    rated = chosen & (manifest.truth != UNKNOWN)
    shares = {
        source: metrics.accuracy(predicted[rows], manifest.truth[rows])
        for source in SOURCES
        if (rows := rated & (manifest.subgroups["source"] == source)).any()
    }
    return {**shares, "all": metrics.accuracy(predicted[rated], manifest.truth[rated])}


def head_figures(
    output: InfantFaceOutput, temperature: float, manifest: LabeledImages, chosen: np.ndarray
) -> dict[str, float]:
    """What the card says beside accuracy, over the chosen rows: balance, ranking, calibration, valence and arousal."""
    rated = chosen & (manifest.truth != UNKNOWN)
    probabilities, truth = softmax(output.logits.numpy()[rated] / temperature, axis=1), manifest.truth[rated]
    pair = np.isin(truth, (NEUTRAL, NEGATIVE))
    pair_score = np.log(probabilities[pair, NEGATIVE] / probabilities[pair, NEUTRAL].clip(1e-12))
    known = chosen & ~np.isnan(manifest.heads["valence_arousal"][:, 0]) & (manifest.heads["usable"] == 1)
    valence, arousal = output.valence_arousal.numpy()[known].T
    return {
        "balanced accuracy": metrics.balanced_accuracy(probabilities.argmax(1), truth),
        "AUC negative against neutral": metrics.auc(pair_score, truth[pair] == NEGATIVE),
        "negative log-likelihood": metrics.negative_log_likelihood(probabilities, truth),
        "expected calibration error": metrics.calibration_error(probabilities, truth),
        "concordance of valence": metrics.concordance(valence, manifest.heads["valence_arousal"][known, 0]),
        "concordance of arousal": metrics.concordance(arousal, manifest.heads["valence_arousal"][known, 1]),
    }


def recalls(predicted: np.ndarray, manifest: LabeledImages, chosen: np.ndarray) -> dict[str, metrics.Proportion]:
    """Accuracy per true class and per age group over the chosen rows."""
    rated = chosen & (manifest.truth != UNKNOWN)
    groups = {f"{name} faces": rated & (manifest.truth == index) for index, name in enumerate(AFFECTS)}
    groups |= {f"age group {name}": rated & (manifest.heads["age"] == index) for index, name in enumerate(AGE_GROUPS)}
    return {
        name: metrics.accuracy(predicted[rows], manifest.truth[rows]) for name, rows in groups.items() if rows.any()
    }
