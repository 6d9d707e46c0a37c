"""Write the vote of several measured checkpoints as one checkpoint that the app loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, ViTImageProcessorPil

from infant_fer.checkpoints.loading import LoadedCheckpoint, load_checkpoint
from infant_fer.data.splits import SPLIT_FILE
from infant_fer.errors import DatasetError
from infant_fer.evaluation.comparison import Evaluation
from infant_fer.evaluation.predictions import ENSEMBLE
from infant_fer.models.ensemble import MOST_MEMBERS, EnsembleModel, vote_of
from infant_fer.models.infant_face import InfantFaceModel

VOTE_CARD = """# A vote of several checkpoints

What the expression **looks like**, by the mean of several classifiers' probabilities, weighed as `config.json` says. Not a medical
device. The licences of all members and of their data hold for these weights too.

## Accuracy on the {split} rows

{figures}
{warnings}"""


def save_vote(checkpoints: Sequence[str], evaluation: Evaluation, folder: Path) -> None:
    """Write the ensemble of an evaluation, of any architectures, as one checkpoint that the app loads.

    Of averaged folds each network is a member, with an equal share of the checkpoint's weight. The record of the split is
    kept where it is the same for all. Raises DatasetError as `vote_members` does.
    """
    from infant_fer.training.reports.artifacts import write_checkpoint

    labels = evaluation.predictions[ENSEMBLE].labels
    loaded, networks = vote_members(checkpoints, labels)
    first = loaded[0]
    side, counts = max(each.crop.size for each in loaded), [len(each) for each in networks]
    members = [each for each, count in zip(loaded, counts, strict=True) for _ in range(count)]
    model = vote_of(
        [network for each in networks for network in each],
        [each.processor for each in members],
        {"size": side, "margin": first.crop.margin},
        [each.crop.size for each in members],
        _member_weights(evaluation.weights, counts, [labels.index(label) for label in first.labels]),
    )
    processor = ViTImageProcessorPil(size={"height": side, "width": side}, do_normalize=False)
    accuracy = {name: str(each.accuracy) for name, each in evaluation.predictions.items()}
    records = {file.read_bytes() if file.is_file() else b"" for file in (each.folder / SPLIT_FILE for each in loaded)}

    def write(part: Path) -> None:
        model.save_pretrained(part)
        processor.save_pretrained(part)
        (part / "metrics.json").write_text(
            json.dumps({"split": evaluation.split, "accuracy": accuracy}, indent=1), "utf-8"
        )
        if len(records) == 1 and (record := next(iter(records))):
            (part / SPLIT_FILE).write_bytes(record)
        lines = [f"- {name}: {words}" for name, words in accuracy.items()]
        warnings = "".join(f"\n{sentence}\n" for sentence in evaluation.warnings)
        card = VOTE_CARD.format(split=evaluation.split, figures="\n".join(lines), warnings=warnings)
        (part / "README.md").write_text(card, "utf-8")

    write_checkpoint(folder, write)


def vote_members(
    checkpoints: Sequence[str], labels: Sequence[str]
) -> tuple[list[LoadedCheckpoint], list[list[PreTrainedModel]]]:
    """Return the checkpoints and the networks of each, for a vote that is one checkpoint with the classes `labels`.

    Raises DatasetError when they cannot be one: other classes or margins, a vote, too many networks, or no plain
    classifier of crops.
    """
    loaded = [load_checkpoint(source) for source in checkpoints]
    networks = [_networks(each) for each in loaded]
    _check_members(loaded, labels)
    if (count := sum(map(len, networks))) > MOST_MEMBERS:
        raise DatasetError(f"These checkpoints have {count} networks; at most {MOST_MEMBERS} can vote.")
    return loaded, networks


def _check_members(loaded: Sequence[LoadedCheckpoint], labels: Sequence[str]) -> None:
    """Raise DatasetError unless all have the classes `labels`, in one order, and one margin."""
    first = loaded[0]
    for each in loaded:
        if each.labels != first.labels or set(each.labels) != set(labels):
            raise DatasetError(
                f"{each.name} names {', '.join(each.labels)}; all members need the same classes in one order."
            )
        if each.crop.margin != first.crop.margin:
            raise DatasetError(
                f"{each.name} sees other crops than {first.name}; only checkpoints of one margin can vote."
            )


def _networks(checkpoint: LoadedCheckpoint) -> list[PreTrainedModel]:
    """Return the network of a checkpoint, or those of averaged folds. Raises DatasetError for what cannot vote."""
    model = checkpoint.model
    if not isinstance(model, EnsembleModel | InfantFaceModel):
        return [model]
    if isinstance(model, InfantFaceModel) or not model.is_mean:
        raise DatasetError(
            f"{checkpoint.name} has several streams, or is a vote itself; only single networks and averaged folds can vote."
        )
    return list(model.members)


def _member_weights(weights: np.ndarray | None, counts: Sequence[int], order: list[int]) -> np.ndarray | None:
    """Return (N, C) weights of the N networks of checkpoints with `counts` networks each, or None if all are alike.

    `weights` are (M,) or (M, C) of the checkpoints; `order` gives the places of the members' classes in them.
    """
    if weights is None and len(set(counts)) == 1:
        return None
    given = np.ones(len(counts)) if weights is None else weights
    by_class = np.broadcast_to(given.reshape(len(counts), -1), (len(counts), len(order)))[:, order]
    return np.repeat(by_class / np.array(counts)[:, None], counts, axis=0)
