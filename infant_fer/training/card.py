"""What must be said of a fine-tuned checkpoint? Its model card, filled in from the run."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from infant_fer.evaluation.scores import figures, mcnemar
from infant_fer.training.experiment import ExperimentResult
from infant_fer.training.infant_face.card import USE

LIMITS = """## Limits
- The labels are what people saw in a picture; nobody asked the infant.
- The figures hold for pictures like those it was measured on. Other cameras, ages, skin tones and light can differ much.
- A held-out part of a few dozen pictures proves little: read the interval, not the figure.
- It answers for adults and dolls too, and then the answer means nothing.
"""


def run_card(name: str, result: ExperimentResult) -> str:
    """The README.md of a checkpoint folder: data, figures with n and intervals, how it was made, use and limits."""
    run = result.provenance
    part, measured = result.measured
    return "\n".join(
        (
            _front_matter(name, result),
            f"# {name}\n",
            f"Reads {', '.join(run['labels'])} from an aligned infant's face of {run['crop']['size']} px. Made from {run['base']}. "
            "Load it with the `infant_fer` package or `transformers`.\n",
            USE,
            f"## Figures on {part}\n",
            "| | accuracy with 95 % interval |\n|---|---|",
            *(f"| {each} | {answers.accuracy.short} |" for each, answers in _rows(result).items()),
            "",
            *(f"- {key}: {value:.3f}" for key, value in figures(measured).items() if isfinite(value)),
            "- exact McNemar p against " + "; ".join(f"{key}: {p:.2g}" for key, p in _against(result).items()),
            "",
            "## Data and licence\n",
            f"`{run['data']}`, split `{run['split']}` ({_apart(run)}), SHA-256 of the split `{run['split_sha256'][:16]}`:\n",
            *(f"- {each}: {counts}" for each, counts in run["counts"].items()),
            "\nThe licences of the data and of the base hold for these weights too.\n",
            "## How it was made\n",
            f"`{run['command']}`, seed {run['seed']}, {run['minutes']} minutes on {run['machine']}, torch {run['torch']}. "
            "Every setting is in `metrics.json`, plots are in `report.html`.\n",
            LIMITS,
        )
    )


def _apart(run: dict) -> str:
    """What the split keeps apart, by what was found across its parts."""
    across = {name: count for name, count in run["pairs across the parts"].items() if count}
    if across:
        pairs = ", ".join(f"{name}: {count} pairs" for name, count in across.items())
        return f"**not apart**, so the figures flatter: across train, dev and test are the {pairs}"
    if run["subjects_known"]:
        return "infants kept apart"
    return "infants not told apart by the data, only near-duplicates"


def _rows(result: ExperimentResult) -> dict:
    part, measured = result.measured
    return {f"{part}, this checkpoint": measured, **result.baselines, **result.further}


def _against(result: ExperimentResult) -> dict[str, float]:
    return mcnemar(result.measured[1], result.baselines)


def _front_matter(name: str, result: ExperimentResult) -> str:
    part, measured = result.measured
    figure = EvalResult(
        task_type="image-classification",
        dataset_type=Path(result.provenance["data"]).stem.lower(),
        dataset_name=result.provenance["data"],
        dataset_split=part,
        metric_type="accuracy",
        metric_value=round(measured.accuracy.value, 4),
    )
    card = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-classification",
        tags=["facial-expression-recognition", "infants"],
        model_name=name,
        eval_results=[figure],
    )
    return f"---\n{card.to_yaml()}\n---\n"
