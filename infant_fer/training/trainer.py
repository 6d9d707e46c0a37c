"""How does a fine-tuning run? transformers' Trainer with soft targets, layer-wise rates, averaged weights, exact resuming."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import EvalPrediction, rotate_checkpoints, sort_checkpoints

from infant_fer.data.labeled_images import ITEM_HEADS, AlignedDataset, one_hot
from infant_fer.errors import DatasetError
from infant_fer.metrics import balanced_accuracy
from infant_fer.models.features import recorded
from infant_fer.training.batches import UNMOVED, Collator, EpochSampler
from infant_fer.training.config import TrainingConfig
from infant_fer.training.optimization import (
    AUXILIARY,
    averaged_model,
    is_head,
    known_cross_entropy,
    parameter_groups,
    set_updates,
)
from infant_fer.training.pretrained import PretrainedModel
from infant_fer.training.provenance import GOES_ON, has_bfloat16, is_distributed, trainer_device, written
from infant_fer.training.reports.watching import FOLDER as WATCH_FOLDER
from infant_fer.training.reports.watching import MapsPerEpoch, WatchedFace

(AUXILIARY_TARGET,) = ITEM_HEADS
AUXILIARY_WEIGHT = 0.5  # of its loss beside that of the classes; not tuned
WEIGHTS, AVERAGED = "weights.safetensors", "averaged.safetensors"
HEAD_RATE = 10  # the head alone learns at this multiple of the rate
KEPT_CHECKPOINTS = 2  # at least: the newest, to be continued, and the best
SEEN_AGAIN = 500  # training pictures on which each epoch's train score is measured


@dataclass(frozen=True)
class FitRun:
    """Where a training keeps its checkpoints and TensorBoard logs, whether the newest checkpoint is continued, and what is watched."""

    folder: Path
    seed: int = 0
    resume: bool = False
    watched: Sequence[WatchedFace] = ()  # faces whose maps are written to `folder` after every epoch

    def step(self, name: str) -> FitRun:
        """Return the run of one step, in a folder of its own."""
        return replace(self, folder=self.folder / name)


def fit(
    base: PretrainedModel, train: AlignedDataset, dev: AlignedDataset, settings: TrainingConfig, run: FitRun
) -> list[dict]:
    """Train `base.model` in place, keep the epoch that `settings.keep` says, and return the log history of both steps.

    In the head's step no other weight gets gradients, but the running statistics of batch normalization adapt as in every
    step. With `run.resume` the newest checkpoint that was written to its end is continued, to the same result. Raises OutputError
    where a checkpoint cannot be written.
    """
    history = []
    if settings.head_epochs:
        for name, parameter in base.model.named_parameters():
            parameter.requires_grad_(is_head(name))
        rate = settings.learning_rate * HEAD_RATE
        head = replace(settings, epochs=settings.head_epochs, learning_rate=rate)
        history = _run_step(base, train, dev, head, run.step("head"))
    base.model.requires_grad_(True)
    return history + _run_step(base, train, dev, settings, run.step("whole"))


def check_augmentation(base: PretrainedModel, settings: TrainingConfig) -> None:
    """Raise DatasetError where the settings move pictures of a network that reads their landmarks."""
    if _takes_geometry(base) and (settings.augmentation not in UNMOVED or settings.mixing):
        raise DatasetError(
            f"{base.name} reads landmarks, which would not move with the picture: use augmentation={' or '.join(UNMOVED)} and no mixing."
        )


def _takes_geometry(base: PretrainedModel) -> bool:
    return getattr(base.model, "takes_geometry", False)


def _run_step(
    base: PretrainedModel, train: AlignedDataset, dev: AlignedDataset, settings: TrainingConfig, run: FitRun
) -> list[dict]:
    check_augmentation(base, settings)
    of_a_class = np.flatnonzero(train.images.target.sum(1) > 0)
    again = train.rows(np.random.default_rng(0).permutation(of_a_class)[:SEEN_AGAIN])
    classes = train.images.target.shape[1]
    trainer = ExpressionTrainer(
        settings,
        model=base.model,
        args=_arguments(settings, run.folder, run.seed, len(train)),
        train_dataset=train,
        eval_dataset={
            "dev": dev.with_target(one_hot(dev.images.target.argmax(1), classes)),
            "train": again.with_target(one_hot(again.images.truth, classes)),
        },
        data_collator=Collator(
            base.processor, settings.augmentation, settings.mixing, settings.colour, _takes_geometry(base)
        ),
        compute_metrics=_scores,
        callbacks=[EarlyStoppingCallback(settings.early_stopping)] if settings.early_stopping else [],
    )
    if run.watched:
        folder = run.folder.parent / WATCH_FOLDER
        trainer.add_callback(MapsPerEpoch(base, run.watched, folder, run.folder.name, trainer.average))
    continued = _newest_complete(run.folder) if run.resume else None
    if not (continued and trainer.was_stopped(continued)):
        trainer.train(resume_from_checkpoint=continued and str(continued))
    if settings.keep == "last" and trainer.average is not None:
        base.model.load_state_dict(trainer.average.module.state_dict())
    trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)  # predictions are float32
    return [{**entry, "step_of_two": run.folder.name} for entry in trainer.state.log_history]


class ExpressionTrainer(Trainer):
    """Trainer whose targets are distributions; predictions and kept weights are those of the average, if there is one."""

    def __init__(self, settings: TrainingConfig, **kwargs):
        super().__init__(**kwargs)
        self.settings = settings
        self.model_accepts_loss_kwargs = False  # the loss is a mean over the batch, so accumulation divides it
        self.plain_collator = Collator(kwargs["data_collator"].processor, geometry=kwargs["data_collator"].geometry)
        target = torch.from_numpy(kwargs["train_dataset"].images.target)
        rarity = target.sum() / target.sum(0).clamp_min(1e-6) / target.shape[1]
        self.class_weights = rarity if settings.class_weights else torch.ones(target.shape[1])
        self.average = averaged_model(self.model, settings.ema) if settings.ema else None
        if self.average is not None:
            self.add_callback(_Averaging(self.average))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the mean cross-entropy with distributions, smoothed and weighted by class, and that of a second task.

        Rows whose class is unknown, a target of zeros, count for the second task alone. Outside of training it is the plain
        cross-entropy, so that the losses of dev and train can be compared with each other and with those of other runs.
        """
        seen = {name: values for name, values in inputs.items() if name not in ("labels", AUXILIARY_TARGET)}
        second = AUXILIARY_TARGET in inputs and model.training
        with recorded(model) if second else nullcontext() as recorder:
            outputs = model(**seen)
        loss = self._class_loss(outputs.logits, inputs["labels"], model.training)
        if recorder is not None:
            logits = getattr(model, AUXILIARY)(recorder.heads()["features"])
            loss = loss + AUXILIARY_WEIGHT * known_cross_entropy(logits.float(), inputs[AUXILIARY_TARGET])
        return (loss, outputs) if return_outputs else loss

    def _class_loss(self, logits: torch.Tensor, labels: torch.Tensor, training: bool) -> torch.Tensor:
        weighted = labels
        if training:
            smoothing = self.settings.label_smoothing
            target = labels * (1 - smoothing) + smoothing / labels.shape[1]
            weighted = target * self.class_weights.to(target.device)
        losses = -(weighted * logits.float().log_softmax(1)).sum(1)
        known = labels.sum(1) > 0
        return losses[known].mean() if known.any() else losses.sum() * 0

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Return loss, logits (B, C) and targets (B, C) of one batch."""
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, self._prepare_inputs(inputs), return_outputs=True)
        return loss, outputs.logits.float(), inputs["labels"]

    def create_optimizer(self, model=None):
        """Return AdamW with decay on matrices only and, if configured, a smaller rate for each lower layer."""
        if self.optimizer is None:  # type: ignore[has-type]
            groups = parameter_groups(
                self.model, self.args.learning_rate, self.settings.weight_decay, self.settings.layer_decay
            )
            self.optimizer = torch.optim.AdamW(groups, lr=self.args.learning_rate)
        return self.optimizer

    def evaluate(self, *args, **kwargs):
        """Evaluate the averaged weights, if there are some."""
        with self._averaged():
            return super().evaluate(*args, **kwargs)

    def get_eval_dataloader(self, eval_dataset=None):
        """Return batches of held-out pictures, neither augmented nor mixed."""
        training, self.data_collator = self.data_collator, self.plain_collator  # type: ignore[has-type]
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = training

    def _get_train_sampler(self, train_dataset=None):
        data = self.train_dataset if train_dataset is None else train_dataset
        return EpochSampler(data.images.target.argmax(1), self.settings.sampler, self.args.seed)

    def was_stopped(self, checkpoint: Path) -> bool:
        """Return whether early stopping has ended the training at a checkpoint; if so, the best epoch's weights are taken."""
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        counter = state.stateful_callbacks.get(EarlyStoppingCallback.__name__, {}).get("attributes", {})
        patience = self.settings.early_stopping
        if not patience or counter.get("early_stopping_patience_counter", 0) < patience:
            return False
        self.state = state
        self._load_best_model()
        return True

    # transformers 5 saves the weights of some families under older names, and Trainer's own loading does not translate
    # them back: it would silently continue with the last weights. So each checkpoint also has them under their own names.
    # Trainer fills a checkpoint under its final name: WEIGHTS, the last file that it gets, tells that it is complete.

    def _save_checkpoint(self, model, trial):
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        with written(folder, GOES_ON):
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each process writes a file of its own
            if self.args.should_save:
                if self.average is not None:
                    _save_weights(self.average.module, folder / AVERAGED)
                _save_weights(self.model, folder / WEIGHTS)
                rotate_checkpoints(str(folder.parent), KEPT_CHECKPOINTS, self.state.best_model_checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        folder = Path(resume_from_checkpoint)
        self.model.load_state_dict(load_file(folder / WEIGHTS))
        if self.average is not None:
            self.average.module.load_state_dict(load_file(folder / AVERAGED))
            set_updates(self.average, int(folder.name.split("-")[-1]))

    def _load_best_model(self):
        file = WEIGHTS if self.average is None else AVERAGED
        self.model.load_state_dict(load_file(Path(self.state.best_model_checkpoint) / file))

    @contextmanager
    def _averaged(self):
        if self.average is None:
            yield
            return
        own = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.module.state_dict())
        try:
            yield
        finally:
            self.model.load_state_dict(own)


class _Averaging(TrainerCallback):
    def __init__(self, average: AveragedModel):
        self.average = average

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.average.update_parameters(model.module if hasattr(model, "module") else model)


def _save_weights(model: torch.nn.Module, file: Path) -> None:
    """Write the weights whole or not at all under the name `file`."""
    partial = file.with_suffix(".part")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, partial)
    partial.replace(file)


def _newest_complete(folder: Path) -> Path | None:
    """Return the newest checkpoint of a step that has its WEIGHTS, and delete what an interruption left of later ones."""
    for checkpoint in map(Path, reversed(sort_checkpoints(str(folder)))):
        if (checkpoint / WEIGHTS).is_file():
            return checkpoint
        shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def _scores(predicted: EvalPrediction) -> dict[str, float]:
    classes, truth = predicted.predictions.argmax(1), predicted.label_ids.argmax(1)
    return {"accuracy": float((classes == truth).mean()), "balanced_accuracy": balanced_accuracy(classes, truth)}


def _arguments(settings: TrainingConfig, folder: Path, seed: int, images: int) -> TrainingArguments:
    bfloat16 = settings.precision == "bfloat16" or (settings.precision == "auto" and has_bfloat16())
    accelerated = trainer_device() != "cpu"
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=min(settings.batch, images),
        per_device_eval_batch_size=64,
        gradient_accumulation_steps=settings.accumulation,
        auto_find_batch_size=settings.auto_batch,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup,
        bf16=bfloat16,
        use_cpu=not accelerated,
        ddp_backend="gloo" if is_distributed() and not accelerated else None,
        seed=seed,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=settings.keep == "best",
        metric_for_best_model="eval_dev_accuracy",
        logging_strategy="steps",
        logging_steps=max(1, images // settings.batch // 4),
        report_to=["tensorboard"],
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
        restore_callback_states_from_checkpoint=True,  # early stopping goes on counting
        log_level="error",
    )
