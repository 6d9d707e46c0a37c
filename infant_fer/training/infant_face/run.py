"""How is a shipped checkpoint trained? Its members side by side, then geometry and temperature; measured and written.

Each member is a process of its own: pretrained on FER2013, then fine-tuned on infants.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import cast

import torch
from transformers import ViTImageProcessorPil

from infant_fer import metrics
from infant_fer.alignment import CropSpec
from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.data.labeled_images import UNKNOWN
from infant_fer.errors import TrainingError
from infant_fer.models.image_streams import BackboneStream, backbone_settings, load_backbone
from infant_fer.models.infant_face import HEADS, InfantFaceConfig, InfantFaceModel, joined
from infant_fer.training.infant_face.artifacts import RunRecord, RunResult, save
from infant_fer.training.infant_face.config import MemberConfig, RunConfig, StudentConfig
from infant_fer.training.infant_face.data import PROCESSOR, RecipeData, digest, load, outputs
from infant_fer.training.infant_face.distillation import (
    narrowed_student,
    refined,
    rounded_to_half,
    taught,
)
from infant_fer.training.infant_face.figures import THIS, measure
from infant_fer.training.infant_face.finetuning import distill_emotions, finetune, fuse, train_geometry
from infant_fer.training.infant_face.linear_heads import LINEAR_HEADS, add_missing_heads
from infant_fer.training.infant_face.pretraining import emotion_set, pretrain
from infant_fer.training.infant_face.steps import (
    StepSettings,
    TrainedMember,
    TrainingContext,
    log_for,
    minutes_since,
    step_name,
    weights_digest,
)
from infant_fer.training.provenance import accelerator
from infant_fer.training.rendered import RenderedFaces, rendered_faces
from infant_fer.trust.fitting import TrustFaces, can_fit, fit_trust
from infant_fer.trust.store import TrustData
from infant_fer.workers import end_with_parent

HELD_OUT_OCCLUDERS, HELD_OUT_SEED = 60, 900_000  # renders of other infants than the trained ones, to measure with


def run(config: RunConfig, log: Callable[[str], None] = print) -> RunResult | None:
    """Train, measure and write a checkpoint; None where only one member was trained. Raises InfantFERError with one sentence."""
    context = TrainingContext(config)
    teacher = _teacher(config)
    given = _given_members(config)
    _check_bases(context)
    _occluders(context)  # rendered once, before the processes of the members
    data = load(config.data, config.cache, log)
    _check_rows(data, config.test, config.learning.learns_votes)
    if config.only_member is not None:
        _train_member(config.only_member - 1, context, data)
        return None
    members = [*given, *train_members(context, data, len(_families(given)))]
    if config.learning.student is not None and teacher is not None:
        members = [_train_student(config.learning.student, teacher, data, context)]
    for member in members:
        add_missing_heads(member.model, data, _bare_renders(context))
    dev, test = data.infants.images.split == "dev", data.infants.images.split == "test"
    model = _fused(members, data, config)
    if any(member.refinement for member in config.learning.members):
        members = refined(model, members, data, context, _occluders(context), teacher)
        for member in members:
            add_missing_heads(member.model, data, _bare_renders(context))
        model = _fused(members, data, config)
    occluders = (
        rendered_faces(HELD_OUT_OCCLUDERS, True, config.cache, HELD_OUT_SEED)
        if config.learning.renders_occluders
        else None
    )
    measured = {"dev": dev} | ({"test": test} if config.test else {})
    model.to(accelerator())
    figures = {name: measure(model, data, rows, occluders) for name, rows in measured.items()}
    model.to("cpu")
    result = RunResult(figures, RunRecord.of(config, [each.minutes for each in members]))
    save(model, result, config.output, _trust(model, data, config.test, log))
    for source, share in figures["dev"].accuracy[THIS].items():
        log(f"dev {source}: {share}")
    return result


def _check_rows(data: RecipeData, test: bool, votes: bool) -> None:
    """Raise TrainingError or DatasetError before hours of training when rows to measure on, or FER+'s `votes`, are not there."""
    wanted = ("train", "dev", "test") if test else ("train", "dev")
    absent = [name for name in wanted if not (data.infants.images.split == name).any()]
    if absent:
        hint = " Without test rows, add --no-test." if absent == ["test"] else ""
        raise TrainingError(f"infants.csv has no rows whose split is {' or '.join(absent)}.{hint}")
    if votes:
        data.emotion_rows(voted=True)


def _fused(members: list[TrainedMember], data: RecipeData, config: RunConfig) -> InfantFaceModel:
    """Return the networks as one model, with a geometry stream and a temperature that suit them, in the recipe's precision."""
    model = joined([each.model for each in members])
    usable = data.infants_kept & (data.infants.images.heads["usable"] == 1)
    train_geometry(model, data.infants.rows(usable), config.learning.geometry, config.seed)
    fuse(model.to(accelerator()), data.infants.rows(data.infants.images.split == "dev"))
    model.requires_grad_(False)
    if config.learning.half:
        rounded_to_half(model)
    model.config.logit_temperature = _temperature(model, data)
    return cast(InfantFaceModel, model.to("cpu"))


def _given_members(config: RunConfig) -> list[TrainedMember]:
    """Return the networks of the checkpoint to start from, as one model. Raises TrainingError where they do not fit."""
    wanted = [member.family for member in config.learning.members]
    if config.only_member is not None and not 1 <= config.only_member <= len(wanted):
        raise TrainingError(f"There is no member {config.only_member}; the members are 1 to {len(wanted)}.")
    if config.start_from is None:
        return []
    model = load_checkpoint(config.start_from).model
    families = model.config.families if isinstance(model, InfantFaceModel) else []
    if not families or families != wanted[: len(families)]:
        raise TrainingError(
            f"{config.start_from} has the networks {', '.join(families) or 'of another architecture'}; "
            f"the first of this variant are {', '.join(wanted)}."
        )
    record = json.loads((config.start_from / "metrics.json").read_text("utf-8"))
    return [TrainedMember(model, sum(record["run"]["minutes"]))]


def _teacher(config: RunConfig) -> InfantFaceModel | None:
    """Return the checkpoint that a student, or the refinement, learns from. Raises TrainingError and CheckpointError."""
    if config.teacher is None:
        if config.learning.student is None:
            return None
        raise TrainingError("A student needs --teacher CHECKPOINT, such as checkpoints/infant-fer-small.")
    if config.learning.student is None and not any(member.refinement for member in config.learning.members):
        raise TrainingError("No network of this variant learns from a teacher. Leave out --teacher.")
    model = load_checkpoint(config.teacher).model
    if not isinstance(model, InfantFaceModel):
        raise TrainingError(f"{config.teacher} is no checkpoint of the project's own architecture.")
    return model


def _train_student(
    settings: StudentConfig, teacher: InfantFaceModel, data: RecipeData, context: TrainingContext
) -> TrainedMember:
    sets = data.training_sets(voted=settings.fine_tuning.votes_weight > 0)
    student = narrowed_student(teacher, settings.last_width)
    student.remove_heads([name for name in LINEAR_HEADS if name in student.config.heads])

    def fine_tune() -> TrainedMember:
        began, log = time.monotonic(), log_for(0)
        faces = taught(sets, teacher.to(accelerator()), settings.fine_tuning)
        log(f"the teacher has read the infants, {time.monotonic() - began:.0f} s")
        network = student.to(accelerator())
        model = finetune(network, faces, settings.fine_tuning, context.config.seed, log, occluders=_occluders(context))
        return TrainedMember(model, minutes_since(began))

    wanted: StepSettings = {
        "data": digest(*sets),
        "seed": context.config.seed,
        "teacher": weights_digest(teacher),
        "student": asdict(settings),
        **context.occluders_of(settings.fine_tuning),
    }
    return context.reused_or_trained("student", wanted, fine_tune)


def _families(members: list[TrainedMember]) -> list[str]:
    return [family for member in members for family in member.model.config.families]


def _check_bases(context: TrainingContext) -> None:
    """Raise TrainingError before hours of training when a pretrained backbone is missing."""
    for member in context.config.learning.members:
        base = context.base_of(member)
        if base is not None and not (base / "config.json").is_file():
            raise TrainingError(f"{base} holds no pretrained {member.family}; name its folder with --base.")


def train_members(context: TrainingContext, data: RecipeData, first: int = 0) -> list[TrainedMember]:
    """Train the members from index `first` on; several that are not finished, side by side with an equal share of the cores.

    Raises TrainingError when one of the processes dies.
    """
    numbers = range(first, len(context.config.learning.members))
    unfinished = list(numbers)
    if context.config.resume:  # without a process for what is finished
        unfinished = [n for n in numbers if not context.is_kept(step_name(n), _settings(n, context, data))]
    if len(unfinished) > 1:
        _train_side_by_side(unfinished, context)
    elif unfinished:
        _train_member(unfinished[0], context, data)
    return [context.read(step_name(number)) for number in numbers]


def _train_side_by_side(numbers: list[int], context: TrainingContext) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = min(len(numbers), os.cpu_count() or 1)  # each holds the faces in memory, gigabytes of the research data
    try:
        with ProcessPoolExecutor(processes, spawn, _share_cores, (processes,)) as pool:
            list(pool.map(_train_apart, numbers, repeat(context)))
    except BrokenProcessPool as error:
        raise TrainingError(
            "The process of a network ended without a word, for example because memory ran out. "
            "The same command with --resume goes on from the finished steps."
        ) from error


def _share_cores(processes: int) -> None:
    end_with_parent()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))


def _train_apart(number: int, context: TrainingContext) -> None:
    """Train a member in a process of its own; the faces are in the cache already."""
    _train_member(number, context, load(context.config.data, context.config.cache, log=lambda _: None))


def _settings(number: int, context: TrainingContext, data: RecipeData) -> StepSettings:
    """Return what the weights of a fine-tuned member depend on; its refinement comes after it."""
    member = context.config.learning.members[number]
    sets = data.training_sets(voted=member.fine_tuning.votes_weight > 0)
    settings = {name: value for name, value in asdict(member).items() if name != "refinement"}
    depends: StepSettings = {**context.occluders_of(member.fine_tuning), **context.start}
    return {"data": digest(*sets), "seed": context.config.seed + number, "member": settings, **depends}


def _train_member(number: int, context: TrainingContext, data: RecipeData) -> None:
    member, seed = context.config.learning.members[number], context.config.seed + number
    fine_tuning = member.fine_tuning
    sets = data.training_sets(voted=fine_tuning.votes_weight > 0)

    def fine_tune() -> TrainedMember:
        start = _pretrained(number, len(member.pretraining), context, data)
        began, network = time.monotonic(), start.model.to(accelerator())
        faces = sets._replace(fer=distill_emotions(network, sets.fer)) if fine_tuning.distill else sets
        model = finetune(network, faces, fine_tuning, seed, log_for(number), number, _occluders(context))
        return TrainedMember(model, start.minutes + minutes_since(began))

    context.reused_or_trained(step_name(number), _settings(number, context, data), fine_tune)


def _occluders(context: TrainingContext) -> RenderedFaces | None:
    """Return the renders whose objects are put before real mouths; None where no network of the recipe wants them."""
    learning = context.config.learning
    return rendered_faces(learning.occluders, True, context.config.cache) if learning.renders_occluders else None


def _bare_renders(context: TrainingContext) -> RenderedFaces | None:
    """Return the renders that teach the action units; None where the recipe wants none."""
    count = context.config.learning.renders
    return rendered_faces(count, False, context.config.cache) if count else None


def _pretrained(number: int, rounds: int, context: TrainingContext, data: RecipeData) -> TrainedMember:
    """Return the member after so many rounds on FER2013; 0 rounds give random weights or the pretrained backbone."""
    member, seed = context.config.learning.members[number], context.config.seed + number
    finished = member.pretraining[:rounds]
    if not finished:
        torch.manual_seed(seed)
        size, base = data.infants.geometry.shape[1], context.base_of(member)
        return TrainedMember(_new_network(member, size, base, context.config.random_weights), 0.0)
    voted = finished[-1].votes_weight > 0
    train_rows = data.emotion_rows(voted)

    def train_round() -> TrainedMember:
        start, began = _pretrained(number, rounds - 1, context, data), time.monotonic()
        images = data.fer.images
        dev = (images.subgroups["official split"] if voted else images.split) == "dev"
        network, train_set = start.model.to(accelerator()), emotion_set(train_rows)
        model = pretrain(network, train_set, data.fer.rows(dev), finished[-1], seed, log_for(number), number)
        return TrainedMember(model, start.minutes + minutes_since(began))

    settings: StepSettings = {
        "data": digest(train_rows),
        "seed": seed,
        "network": [member.family, member.base, member.drop_path, member.input_side],
        "pretraining": [asdict(each) for each in finished],
        **context.start,
    }
    return context.reused_or_trained(step_name(number, f"pretrained-{rounds}"), settings, train_round)


def _new_network(
    member: MemberConfig, geometry_size: int, base: Path | None, random_weights: bool = False
) -> InfantFaceModel:
    """Return a network with random heads, over random weights or the pretrained backbone of a folder."""
    crop, backbones = CropSpec(), {}
    if base is not None:
        backbones[member.family] = backbone_settings(base, crop.size, member.input_side)
        if member.drop_path:
            backbones[member.family]["drop_path_rate"] = member.drop_path
    later = {"action_units"} | ({"votes"} if not member.fine_tuning.votes_weight else set())
    heads = [name for name in HEADS if name not in later]
    model = InfantFaceModel(
        InfantFaceConfig(
            geometry_size=geometry_size,
            face_crop=asdict(crop),
            families=[member.family],
            backbones=backbones,
            heads=heads,
        )
    )
    if base is not None and not random_weights:
        load_backbone(cast(BackboneStream, model.readers[0].image), base)
    return model


def _trust(model: InfantFaceModel, data: RecipeData, test: bool, log: Callable[[str], None]) -> TrustData | None:
    """Return the trust data, None where too few infants are held out."""
    faces = TrustFaces(data.infants.rows(data.infants.found), data.older.rows(data.older.found))
    if can_fit(faces):
        return fit_trust(model, ViTImageProcessorPil(**PROCESSOR), faces, test, log)
    log("too few held-out infants for trust data")
    return None


def _temperature(model: InfantFaceModel, data: RecipeData) -> float:
    rated = (data.infants.images.split == "dev") & (data.infants.images.truth != UNKNOWN)
    logits = outputs(model, data.infants.rows(rated)).logits.numpy()
    return metrics.fit_temperature(logits, data.infants.images.truth[rated])
