"""What can be refused before hours of work? The pictures' labels, the base, the teacher and the classes to fill."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from infant_fer.data.datasets import read_labeled_images
from infant_fer.data.labeled_images import LabeledImages
from infant_fer.errors import DatasetError
from infant_fer.labels import affect_of_labels
from infant_fer.training.action_units import check_action_units
from infant_fer.training.config import DataConfig, ExperimentConfig
from infant_fer.training.minority import check_class, class_folder, rendered_expressions
from infant_fer.training.pretrained import PretrainedModel, load_pretrained
from infant_fer.training.rendered import check_renderer, renders_folder
from infant_fer.training.trainer import check_augmentation


def check(configs: Iterable[ExperimentConfig]) -> None:
    """Raise what `run` would for the base, the teacher or a class of each config; all are of one data set.

    No face is looked for, and nothing is trained.
    """
    labels: tuple[str, ...] = ()
    for config in configs:
        labels = labels or read_images(config.data).labels
        checked_base(config, labels)


def read_images(data: DataConfig) -> LabeledImages:
    """Read the labelled pictures of a run. Raises DatasetError, also for labels that stand for no affect."""
    images = read_labeled_images(data.source, data.classes, data.pictures, data.cache)
    affect_of_labels(images.labels)  # else the finished checkpoint could not be loaded
    return images


def checked_base(config: ExperimentConfig, labels: tuple[str, ...]) -> PretrainedModel:
    """Return the base. Raises InfantFERError, before the work, for what the first fit, or the renders, would refuse."""
    base = seeded_base(config, labels)
    check_augmentation(base, config.settings)
    if config.teacher:
        teacher = load_teacher(config.teacher, labels)
        if config.warped and teacher.crop != base.crop:
            raise DatasetError(
                f"Warped faces exist in crops of {base.crop} alone, and {teacher.name} sees {teacher.crop}. "
                "Use a teacher with the same crop, or another --balance."
            )
    if config.aux:
        check_action_units(base)
        check_renderer(renders_folder(False, config.data.cache))
    if config.rendered:
        rendered_expressions(labels, config.rendered)
        check_renderer(class_folder(config.rendered, config.data.cache))
    if config.warped:
        check_class(labels, config.warped)
    return base


def seeded_base(config: ExperimentConfig, labels: tuple[str, ...]) -> PretrainedModel:
    """Load the base, its new weights drawn with the config's seed. Raises CheckpointError."""
    torch.manual_seed(config.seed)  # new heads and random weights are drawn
    base = load_pretrained(config.base, labels, config.size, config.architecture)
    if getattr(base.model.config, "logit_temperature", None):
        base.model.config.logit_temperature = 1.0  # the base's was fitted to its weights before this training
    return base


def load_teacher(source: str, labels: tuple[str, ...]) -> PretrainedModel:
    """Load a teacher of these classes. Raises CheckpointError, and DatasetError where it has others."""
    loaded = load_pretrained(source, labels)
    if not loaded.whole:
        raise DatasetError(f"The teacher {loaded.name} has other classes than {', '.join(labels)}.")
    return loaded
