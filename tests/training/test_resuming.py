"""Trainings that were interrupted, or found no space, and go on to the same result."""

from dataclasses import replace

import pytest
import torch

from infant_fer.errors import OutputError
from infant_fer.training import pretrained as bases
from infant_fer.training import trainer
from infant_fer.training.trainer import FitRun, fit
from tests.full_disk import no_file_above
from tests.training.test_trainer import QUICK, base, drawn, tiny_vit, weights


@pytest.fixture(autouse=True)
def _tiny_shape(monkeypatch):
    monkeypatch.setitem(bases.SHAPES, "tiny", tiny_vit)


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_result(tmp_path, monkeypatch):
    settings = replace(QUICK, epochs=3, ema=0.8, augmentation="light", mixing="fmix", sampler="weighted", head_epochs=1)
    straight = base()
    fit(straight, drawn(24), drawn(9, 50), settings, FitRun(tmp_path / "straight", 3))

    killed, saved = base(), trainer.ExpressionTrainer._save_checkpoint

    def save_and_die(self, model, trial):
        saved(self, model, trial)
        if self.state.global_step == 6 and "whole" in self.args.output_dir:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(trainer.ExpressionTrainer, "_save_checkpoint", save_and_die)
        with pytest.raises(Killed):
            fit(killed, drawn(24), drawn(9, 50), settings, FitRun(tmp_path / "killed", 3))
    again = base(seed=9)  # whatever the new process draws is overwritten by the checkpoint
    fit(again, drawn(24), drawn(9, 50), settings, FitRun(tmp_path / "killed", 3, resume=True))
    torch.testing.assert_close(weights(again.model), weights(straight.model), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("during", ["_save_optimizer_and_scheduler", "_save_weights"])
def test_a_run_goes_on_that_was_killed_while_it_wrote_a_checkpoint(tmp_path, monkeypatch, during):
    """One step an epoch; the third checkpoint is left without its optimizer, or without the averaged weights."""
    settings = replace(QUICK, epochs=3, batch=12, ema=0.5)
    straight, killed, again = base(), base(), base(seed=9)
    fit(straight, drawn(12), drawn(3, 50), settings, FitRun(tmp_path / "straight", 3))
    owner = trainer if during == "_save_weights" else trainer.ExpressionTrainer
    whole, folder = getattr(owner, during), tmp_path / "killed" / "whole"

    def die_in_the_third(*arguments):
        if (folder / "checkpoint-3").exists():
            raise Killed
        return whole(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(owner, during, die_in_the_third)
        with pytest.raises(Killed):
            fit(killed, drawn(12), drawn(3, 50), settings, FitRun(folder.parent, 3))
    assert {each.name for each in folder.glob("checkpoint-*")} == {f"checkpoint-{number}" for number in (1, 2, 3)}
    history = fit(again, drawn(12), drawn(3, 50), settings, FitRun(folder.parent, 3, resume=True))
    assert sorted(entry["epoch"] for entry in history if "eval_dev_loss" in entry) == [1, 2, 3]
    torch.testing.assert_close(weights(again.model), weights(straight.model), rtol=1e-5, atol=1e-6)
    assert len(list(folder.glob("checkpoint-*"))) == trainer.KEPT_CHECKPOINTS


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [3, 4])  # the fourth epoch is the second without a better score: the last
def test_early_stopping_goes_on_counting_in_a_run_that_goes_on(tmp_path, monkeypatch, killed_after):
    scores = {1: 0.4, 2: 0.6, 3: 0.5, 4: 0.5, 5: 0.9, 6: 0.9}
    measured, saved = trainer.ExpressionTrainer.evaluation_loop, trainer.ExpressionTrainer._save_checkpoint

    def scored(self, *args, **kwargs):
        result = measured(self, *args, **kwargs)
        if "eval_dev_accuracy" in result.metrics:
            result.metrics["eval_dev_accuracy"] = scores[round(self.state.epoch)]
        return result

    def save_and_die(self, model, trial):
        saved(self, model, trial)
        if round(self.state.epoch) == killed_after:
            raise Killed

    monkeypatch.setattr(trainer.ExpressionTrainer, "evaluation_loop", scored)
    settings = replace(QUICK, epochs=6, early_stopping=2)
    straight, killed, again = base(), base(), base(seed=9)
    fit(straight, drawn(24), drawn(9, 50), settings, FitRun(tmp_path / "straight", 3))
    with monkeypatch.context() as patched:
        patched.setattr(trainer.ExpressionTrainer, "_save_checkpoint", save_and_die)
        with pytest.raises(Killed):
            fit(killed, drawn(24), drawn(9, 50), settings, FitRun(tmp_path / "killed", 3))
    history = fit(again, drawn(24), drawn(9, 50), settings, FitRun(tmp_path / "killed", 3, resume=True))
    assert max(entry["epoch"] for entry in history) == 4
    torch.testing.assert_close(weights(again.model), weights(straight.model), rtol=1e-5, atol=1e-6)


def test_a_training_on_a_full_disk_goes_on_when_there_is_space(tmp_path):
    """The weights still fit, and the optimizer's state, twice as large, does not."""
    learner = base()
    size = sum(4 * each.numel() for each in learner.model.parameters())
    with (
        pytest.raises(OutputError, match=r"checkpoint-2 could not be written: .*--resume"),
        no_file_above(3 * size // 2),
    ):
        fit(learner, drawn(12), drawn(3, 50), QUICK, FitRun(tmp_path))
    history = fit(base(), drawn(12), drawn(3, 50), QUICK, FitRun(tmp_path, resume=True))
    assert [entry["epoch"] for entry in history if "eval_dev_loss" in entry] == [1, 2]
