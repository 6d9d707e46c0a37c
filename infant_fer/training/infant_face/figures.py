"""Score an InfantFaceModel on one split of the infants' table: fused and single streams, baselines and every other head."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import softmax

from infant_fer import metrics
from infant_fer.data.labeled_images import UNKNOWN, AlignedDataset, LabeledImages
from infant_fer.evaluation.predictions import Predictions, baselines
from infant_fer.evaluation.scores import figures, mcnemar, scores, subgroup_accuracies
from infant_fer.labels import AFFECTS, AGE_GROUPS
from infant_fer.metrics import Proportion
from infant_fer.models.infant_face import InfantFaceModel, InfantFaceOutput
from infant_fer.training.infant_face.data import AGE_GROUP, FaceBatch, RecipeData, outputs
from infant_fer.training.infant_face.pretraining import emotion_accuracies
from infant_fer.training.infant_face.variation import Cutouts, with_covered_mouths
from infant_fer.training.rendered import RenderedFaces

THIS = "this checkpoint"
SOURCES = ("utkface", "web", "fer2013")  # in the order of the card
AFFECT_FIGURES = (
    "balanced accuracy",
    "AUC negative against neutral",
    "negative log-likelihood",
    "expected calibration error",
)

QUIET = -1.2  # valence, in -2..2: the raters' mean is -1 or more
SURE = 0.9


@dataclass(frozen=True)
class InfantFaceFigures:
    """What a checkpoint reaches on one split; a proportion's interval is over infants where one has several pictures."""

    accuracy: dict[str, dict[str, Proportion]]  # by model, then by source and "all"
    recall: dict[str, Proportion]  # of this checkpoint, by true class and by age group
    heads: dict[str, float]  # AFFECT_FIGURES, Lin's concordances, and the AUC of every other head
    quiet_negatives: Proportion  # recall of negative faces whose raters' valence is at least QUIET
    sure_mistakes: Proportion  # negative faces answered positive with more than SURE
    emotions: Proportion  # right among seven, of FER2013's faces
    votes: Proportion | None  # right among eight, of FER+'s; None without votes or a head for them
    mcnemar: dict[str, float]  # exact p of this checkpoint against every other model

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        shares = {model: _plain(by_source) for model, by_source in self.accuracy.items()}
        return {
            "accuracy": shares,
            "recall": _plain(self.recall),
            "heads": self.heads,
            "quiet negatives": self.quiet_negatives.to_dict(),
            f"negative answered positive above {SURE}": self.sure_mistakes.to_dict(),
            "emotions of FER2013": self.emotions.to_dict(),
            **({} if self.votes is None else {"votes of FER+": self.votes.to_dict()}),
            "McNemar p": self.mcnemar,
        }


def _plain(shares: dict[str, Proportion]) -> dict:
    return {name: each.to_dict() for name, each in shares.items()}


def measure(
    model: InfantFaceModel, data: RecipeData, chosen: np.ndarray, occluders: RenderedFaces | None = None
) -> InfantFaceFigures:
    """Return every figure of the card for the (N,) mask `chosen` of infants, all of one split.

    With `occluders`, renders with an object before the face, also how well a covered mouth is noticed.
    """
    infants = data.infants.rows(chosen)
    output, split = outputs(model, infants), str(infants.images.split[0])
    measured = _affect_predictions(output, model.config.logit_temperature, infants, data)
    this = measured[THIS]
    quiet_negatives, sure_mistakes = _hard_negatives(this, infants.images.rows(infants.images.truth != UNKNOWN))
    emotions, votes = _fer2013_accuracies(model, data, split)
    return InfantFaceFigures(
        accuracy={name: _by_source(predictions) for name, predictions in measured.items()},
        recall=_recalls(this),
        heads={
            **{name: value for name, value in figures(this).items() if name in AFFECT_FIGURES},
            **_concordances(output, infants.images),
            **_usable_aucs(model, output, infants.images, data.older.rows(data.older.images.split == split)),
            **_covered_auc(model, infants, occluders),
        },
        quiet_negatives=quiet_negatives,
        sure_mistakes=sure_mistakes,
        emotions=emotions,
        votes=votes,
        mcnemar=mcnemar(this, measured),
    )


def _affect_predictions(
    output: InfantFaceOutput, temperature: float, infants: AlignedDataset, data: RecipeData
) -> dict[str, Predictions]:
    """Return the affect predictions of the fused model, its streams and the baselines for those of the (N,) infants with a label."""
    images, trained = infants.images, data.infants.images
    labeled = images.truth != UNKNOWN
    logits = {
        THIS: output.logits,
        "image stream alone": output.image_logits,
        "geometry stream alone": output.geometry_logits,
    }
    probabilities = {name: softmax(each.double().numpy() / temperature, axis=1) for name, each in logits.items()}
    measured = infants.rows(labeled)
    predictions = {name: Predictions.of(measured.images, each[labeled]) for name, each in probabilities.items()}
    train = data.infants.rows((trained.truth != UNKNOWN) & (trained.split == "train"))
    return predictions | baselines(train, measured)


def _by_source(predictions: Predictions) -> dict[str, Proportion]:
    found = subgroup_accuracies(predictions, "source")
    return {**{source: found[source] for source in SOURCES if source in found}, "all": predictions.accuracy}


def _recalls(predictions: Predictions) -> dict[str, Proportion]:
    found = scores(predictions)
    ages = found.per_subgroup[AGE_GROUP]
    recalls = {f"{name} faces": recall for name, recall in found.per_class.items() if recall.n}
    return recalls | {f"{AGE_GROUP} {name}": ages[name] for name in AGE_GROUPS if name in ages}


def _concordances(output: InfantFaceOutput, images: LabeledImages) -> dict[str, float]:
    """Return Lin's concordance of valence and arousal over the usable faces that have them."""
    truth = images.heads["valence_arousal"]
    known = ~np.isnan(truth[:, 0]) & (images.heads["usable"] == 1)
    predicted = output.valence_arousal.numpy()[known]
    return {
        f"concordance of {name}": metrics.concordance(predicted[:, column], truth[known, column])
        for column, name in enumerate(("valence", "arousal"))
    }


def _usable_aucs(
    model: InfantFaceModel, output: InfantFaceOutput, images: LabeledImages, older: AlignedDataset
) -> dict[str, float]:
    """Return AUCs of usable infants against unusable rows and older faces: above eight years, and of four to eight."""
    over_eight = older.images.heads["usable"] == 0
    aucs = {}
    for name, chosen in (("over 8", over_eight), ("of 4 to 8", ~over_eight)):
        others = outputs(model, older.rows(chosen)).usable_logit.numpy()
        aucs[f"AUC usable infant's face against unusable ones and faces {name}"] = metrics.auc(
            np.concatenate([output.usable_logit.numpy(), others]),
            np.concatenate([images.heads["usable"], np.zeros(len(others))]),
        )
    return aucs


def _hard_negatives(predictions: Predictions, images: LabeledImages) -> tuple[Proportion, Proportion]:
    """Return the recall of quiet negatives and the proportion of negatives that are surely called positive."""
    negative = predictions.truth == AFFECTS.index("negative")
    quiet = negative & (images.heads["valence_arousal"][:, 0] >= QUIET)
    right = predictions.probabilities.argmax(1) == AFFECTS.index("negative")
    wrong = predictions.probabilities[:, AFFECTS.index("positive")] > SURE
    quiet_negatives = Proportion.of(right[quiet], images.subject[quiet])
    return quiet_negatives, Proportion.of(wrong[negative], images.subject[negative])


def _covered_auc(model: InfantFaceModel, infants: AlignedDataset, occluders: RenderedFaces | None) -> dict[str, float]:
    """Return the AUC of "mouth covered" for faces with a rendered object pasted before the mouth against the faces as they are.

    Faces with a mouth that is covered already, and unusable ones, do not count.
    """
    if occluders is None or "mouth_covered" not in model.config.heads:
        return {}
    heads = infants.images.heads
    bare = infants.rows((heads["usable"] == 1) & (heads["mouth_covered"] == 0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pasted = with_covered_mouths(FaceBatch.of(bare), Cutouts.of(occluders), 1.0).luminance.round().to(torch.uint8)
    covered = replace(bare, crops=pasted[..., None].expand(-1, -1, -1, 3).numpy())
    read = [outputs(model, each).mouth_covered_logit.numpy() for each in (bare, covered)]
    return {"AUC mouth covered, objects pasted": metrics.auc(np.concatenate(read), np.repeat([0, 1], len(bare)))}


def _fer2013_accuracies(model: InfantFaceModel, data: RecipeData, split: str) -> tuple[Proportion, Proportion | None]:
    """Return the accuracy on FER2013's public test (dev) or private test (test): seven emotions, and the votes' majority.

    The test is that of the official split, where the data have it, else that of the archive's folders. The votes count where
    FER+ has any and the model a head for them.
    """
    images = data.fer.images
    official = images.subgroups["official split"]
    is_official = bool((official == split).any())
    found = emotion_accuracies(model, data.fer.rows((official if is_official else images.split) == split))
    return found["FER2013"], found.get("FER+") if is_official else None
