"""Variants that are trained alike and compared: what --compare and --vary stand for."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from infant_fer.errors import DatasetError
from infant_fer.evaluation import plots
from infant_fer.evaluation.predictions import Predictions
from infant_fer.labels import AFFECTS
from infant_fer.training import variants as module
from infant_fer.training.checks import seeded_base
from infant_fer.training.command import experiment_config
from infant_fer.training.config import (
    DataConfig,
    ExperimentConfig,
    FoldsConfig,
    TrainingConfig,
    balanced,
    with_auxiliary,
    with_changes,
)
from infant_fer.training.experiment import ExperimentResult
from infant_fer.training.reports.artifacts import _compared
from infant_fer.training.variants import HEAD, Candidate, compare, maps_of, variants
from train import _parser

CONFIG = ExperimentConfig(data=DataConfig("pictures"), base="random:vit-tiny", output=Path("out"))


def result(right: int) -> ExperimentResult:
    """Return a result with `right` of 6 dev rows right."""
    truth = np.arange(6) % 3
    probabilities = np.eye(3)[np.where(np.arange(6) < right, truth, (truth + 1) % 3)] * 0.9 + 0.1 / 3
    members = tuple(str(n) for n in range(6))
    dev = Predictions(("positive", "neutral", "negative"), probabilities, truth, members, np.array(members), {})
    nothing = dict.fromkeys(
        ("base", "cross_validation", "history", "baselines", "size_curve", "held_out", "images", "splits")
    )
    return ExperimentResult(**{**nothing, "predictions": {"dev": dev}, "provenance": SimpleNamespace(minutes=1.5)})


@pytest.fixture(autouse=True)
def _no_maps(monkeypatch):
    """The results have no model; tests/training/test_report.py explains some."""
    monkeypatch.setattr(module, "maps_of", lambda result: [])


@pytest.fixture
def unchecked(monkeypatch):
    """The runs are made up: there are no data to check."""
    monkeypatch.setattr(module, "check", lambda configs: None)


def test_a_setting_is_varied_alike():
    found = variants(CONFIG, [], "mixing=none,cutmix,mosaic")
    assert {name: each.settings.mixing for name, each in found.items()} == {
        "mixing=none": "",
        "mixing=cutmix": "cutmix",
        "mixing=mosaic": "mosaic",
    }
    assert len({each.run_folder for each in found.values()}) == 3
    assert {replace(each, settings=CONFIG.settings, output=CONFIG.output) for each in found.values()} == {CONFIG}


def test_the_rows_of_the_mobile_study_begin_with_one_without_any_augmentation():
    words = ["--data", "x", "--recipe", "mobile", "--set", "augmentation=none", "label_smoothing=0"]
    words += ["--vary", "mixing=none,cutout,mixup,cutmix,fmix,all"]
    options = _parser().parse_args(words)
    found = [
        each.settings
        for each in variants(experiment_config(options, "mobile", Path("out"), ""), [], options.vary).values()
    ]
    assert [each.mixing for each in found] == ["", "cutout", "mixup", "cutmix", "fmix", "all"]
    assert {(each.augmentation, each.colour, each.label_smoothing, each.sampler) for each in found} == {
        ("none", "", 0, "plain")
    }
    with pytest.raises(
        DatasetError, match="mixing is 'every'; it can be '', 'cutout', 'mixup', 'cutmix', 'fmix', 'mosaic', 'all'"
    ):
        variants(CONFIG, [], "mixing=none,every")
    assert "cutout,mixup,cutmix,fmix,all" in " ".join(_parser().format_help().split())


def given(*words: str, recipe: str = "part_tokens") -> ExperimentConfig:
    """Return the config of a command line."""
    options = _parser().parse_args(["--data", "x", *words])
    return experiment_config(options, recipe, Path("out"), "")


def test_the_architecture_of_part_tokens_is_set_and_varied_as_settings_are():
    assert given().architecture == ()
    set_ = given("--set", "filters=0", "enlarged=1", "epochs=2")
    assert (set_.architecture, set_.settings.epochs) == ((("filters", 0), ("enlarged", 1.0)), 2)
    model = seeded_base(replace(set_, size=96), AFFECTS).model
    assert (model.config.filters, model.config.enlarged) == (0, 1)
    found = variants(given("--set", "enlarged=1"), [], "filters=0,8")
    assert [dict(each.architecture) for each in found.values()] == [{"enlarged": 1, "filters": n} for n in (0, 8)]
    assert list(found) == ["filters=0", "filters=8"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("filters=-1", "filters must be at least 0 and at most 256; -1 was given."),
        ("filters=some", "filters must be a int; 'some' was given."),
        ("enlarged=0", "enlarged must be above 0 and at most 4; 0.0 was given."),
        ("filter=3", "'filter=3' is no setting"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused(change, message):
    with pytest.raises(DatasetError, match=re.escape(message)):
        given("--set", change)


def test_another_base_has_no_filters():
    for config in (
        lambda: given("--set", "filters=0", recipe="mobile"),
        lambda: given("--set", "filters=0", "--base", "random:vit-tiny"),
        lambda: variants(given("--set", "filters=0"), ["random:part-tokens", "random:vit-tiny"], None),
        lambda: variants(CONFIG, [], "filters=0,8"),
    ):
        with pytest.raises(DatasetError, match="filters is a setting of --base random:part-tokens; the base is "):
            config()


def test_bases_seeds_crops_and_balance_can_be_varied():
    assert [each.base for each in variants(CONFIG, ["a/b", "c/d"], None).values()] == ["a/b", "c/d"]
    assert [each.seed for each in variants(CONFIG, [], "seed=1,2").values()] == [1, 2]
    assert [each.data.crops for each in variants(CONFIG, [], "crops=whole,aligned").values()] == ["whole", "aligned"]
    weighted, loss = variants(CONFIG, [], "balance=weighted,loss").values()
    assert (weighted.settings.sampler, loss.settings.class_weights) == ("weighted", True)


def test_variants_of_different_pictures_are_compared_with_a_caution(monkeypatch, unchecked):
    one, other = result(5), result(4)
    dev = replace(other.predictions["dev"], members=tuple(str(n) for n in range(2, 8)))
    runs = iter([one, replace(other, predictions={"dev": dev})])
    monkeypatch.setattr(module, "run", lambda config, log: next(runs))
    lines = []
    _, candidates = compare(variants(CONFIG, [], "crops=whole,aligned"), lines.append)
    words = "not compared on the same pictures (crops=whole on 6, crops=aligned on 6; 4 are in all)"
    assert words in lines[-1]
    caution, table = _compared(candidates)
    assert words in caution.words
    assert caution.warning
    assert len(table.rows) == 2
    assert len(_compared([candidates[0]] * 2)) == 1


def test_folders_of_one_name_stay_apart_and_no_path_is_shown():
    found = variants(CONFIG, ["/home/me/siteA/model", "/home/me/siteB/model"], None)
    assert list(found) == ["model", "model (2)"]
    assert len({each.run_folder for each in found.values()}) == 2
    assert list(variants(CONFIG, [], "base=/home/me/model,random:vit-tiny")) == ["base=model", "base=random:vit-tiny"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mixing", "names no variants"),
        ("mixing=cutmix", "at least two values"),
        ("colours=a,b", "cannot change 'colours'"),
        ("mixing=cutmix,blend", "blend"),
        ("seed=a,b", "whole number"),
        ("balance=up,down", "no balance 'up'"),
        ("crops=round,square", "aligned or whole"),
    ],
)
def test_what_cannot_be_varied_is_said_before_the_work(words, message):
    with pytest.raises(DatasetError, match=re.escape(message)):
        variants(CONFIG, [], words)


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        (with_auxiliary(CONFIG, "action-units"), "mixing=none,cutmix", "--aux adds renders"),
        (with_auxiliary(CONFIG, "action-units"), "balance=none,weighted", "--aux adds renders"),
        (replace(CONFIG, size_curve=True), "aux=none,action-units", "--aux adds renders"),
        (balanced(CONFIG, "warped:positive"), "crops=aligned,whole", "--balance warped adds aligned faces"),
        (replace(CONFIG, base="bases/mobilenet"), "size=64,96", "The size varies with --base random:NAME alone"),
        (replace(CONFIG, folds=FoldsConfig(2)), "balance=none,synthetic:positive", "--balance synthetic adds"),
    ],
)
def test_a_variant_may_not_contradict_the_rest_of_the_run(config, words, message):
    with pytest.raises(DatasetError, match=message):
        variants(config, [], words)


def test_a_setting_that_is_true_or_false_takes_no_other_word():
    found = with_changes(TrainingConfig(), ["soft_labels=No", "class_weights=true"])
    assert (found.soft_labels, found.class_weights) == (False, True)
    with pytest.raises(DatasetError, match="soft_labels must be a bool; 'ture' was given"):
        with_changes(TrainingConfig(), ["soft_labels=ture"])


def test_the_best_on_dev_is_kept_and_all_are_in_the_table(monkeypatch, unchecked):
    rights = iter((2, 5, 4))
    monkeypatch.setattr(module, "run", lambda config, log: result(next(rights)))
    best, candidates = compare(variants(CONFIG, [], "seed=0,1,2"), log=lambda line: None)
    assert best.predictions["dev"].accuracy.right == 5
    assert [each.accuracy.right for each in candidates] == [2, 5, 4]
    assert [each.name for each in best.candidates] == ["seed=0", "seed=1", "seed=2"]
    assert best.candidates == candidates
    assert best.maps is candidates[1].maps
    assert maps_of(best) is best.maps  # they are computed once


def test_maps_are_computed_where_the_model_is(monkeypatch):
    model = SimpleNamespace(parameters=lambda: iter([torch.zeros(1, device="meta")]))
    crops = {"dev": SimpleNamespace(crops=np.zeros((6, 8, 8, 3), np.uint8))}
    trained = replace(result(6), base=SimpleNamespace(model=model, processor=None, name="x"), held_out=crops)
    monkeypatch.setattr(module, "AffectClassifier", lambda *_, device: device)
    monkeypatch.setattr(module, "FaceDetector", lambda bundle: None)
    monkeypatch.setattr(module, "face_bundle", lambda: None)
    monkeypatch.setattr(module, "mean_maps", lambda classifier, *_: [classifier])
    assert maps_of(trained) == ["meta"]


def test_a_row_has_accuracy_loss_and_macro_figures():
    candidate = Candidate.of("x", result(6))
    assert len(candidate.row) == len(HEAD)
    assert candidate.figures["macro F1"] == 1
    assert candidate.figures["loss"] == pytest.approx(-np.log(0.9 + 0.1 / 3))
    assert candidate.to_dict()["accuracy"]["n"] == 6
    assert candidate.minutes == 1.5


def test_the_curves_of_all_variants_are_in_one_plot_where_there_is_more_than_one_epoch(monkeypatch):
    def history(epochs: int) -> list[dict]:
        scores = {f"eval_{split}_{name}": 0.5 for split in ("train", "dev") for name in ("loss", "accuracy")}
        return [{"epoch": float(epoch), **scores} for epoch in range(1, epochs + 1)]

    both = [replace(Candidate.of(name, result(4)), name=name, histories=[history(3)]) for name in ("a", "b")]
    table, figure = _compared(both)
    assert [row[0] for row in table.rows] == ["a", "b"]
    assert figure.source.startswith("data:image/png")
    assert len(_compared([replace(each, histories=[history(1)]) for each in both])) == 1
    of_folds = [replace(each, histories=[history(2), history(3)], split="cross-validation") for each in both]
    drawn, curve = {}, plots.accuracy_curves
    monkeypatch.setattr(plots, "accuracy_curves", lambda runs: drawn.update(runs) or curve(runs))
    assert _compared(of_folds)[1].caption.endswith("Of each, the mean over its folds.")
    assert [len(epochs) for epochs in drawn.values()] == [2, 2]  # as far as both folds go
    assert [each.how for each in (both[0], of_folds[0])] == ["on dev", "in cross-validation"]


def test_the_last_of_all_epochs_excludes_early_stopping():
    with pytest.raises(DatasetError, match="excludes early_stopping"):
        variants(replace(CONFIG, settings=TrainingConfig(early_stopping=2)), [], "keep=last,best")


@pytest.mark.parametrize("how", ["none", "weighted", "undersampled", "loss"])
def test_a_balance_is_the_same_whatever_the_recipe_had_and_changes_nothing_else(how):
    found = balanced(CONFIG, how).settings
    assert replace(found, sampler="plain", class_weights=False) == CONFIG.settings
    other = replace(CONFIG.settings, sampler="undersampled", class_weights=True)
    assert balanced(replace(CONFIG, settings=other), how).settings == found


def test_a_balance_undoes_an_earlier_one():
    filled = balanced(CONFIG, "warped:negative")
    assert balanced(filled, "none") == CONFIG
    other = balanced(filled, "synthetic:positive")
    assert (other.warped, other.rendered) == ("", "positive")
    for words in (["--balance", "weighted", "--vary", "balance=none,loss"], ["--base", "b", "--vary", "base=b,c"]):
        with pytest.raises(DatasetError, match=f"already says what is compared: leave out {words[0]}."):
            given(*words)


@pytest.mark.parametrize(
    "words",
    [
        ["--recipe", "thesis", "--balance", "synthetic:negative"],
        ["--recipe", "affectnet", "--balance", "warped:negative"],
        ["--recipe", "thesis", "--aux", "action-units"],
        ["--recipe", "mobile", "--aux", "action-units"],
        ["--recipe", "affectnet", "--aux", "action-units"],
    ],
)
def test_a_refused_option_goes_with_what_its_message_adds(words, tmp_path):
    def config(words: list[str]):
        options = _parser().parse_args(["--data", "D", *words])
        return experiment_config(options, options.recipe, tmp_path, "")

    with pytest.raises(DatasetError, match="add --") as refused:
        config(words)
    (advice,) = re.findall(r"add (--[^,.]*)", str(refused.value))
    assert config(words + advice.replace(" and ", " ").split()).recipe == words[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--repeats", "3"], "add --folds"),
        (["--base", "bases/mobilenet", "--size", "64"], "--size is for --base random:NAME"),
        (["--base", "bases/mobilenet", "--size", "64", "--vary", "seed=0,1"], "--size is for --base random:NAME"),
        (["--vary", "base=bases/a,bases/b", "--size", "64"], "--size is for --base random:NAME"),
        (["--compare", "bases/a", "bases/b", "--size", "64"], "--size is for --base random:NAME"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(words, message, tmp_path):
    options = _parser().parse_args(["--data", "D", "--recipe", "mobile", *words])
    with pytest.raises(DatasetError, match=message):
        experiment_config(options, "mobile", tmp_path, "")


def test_a_size_of_zero_is_not_the_recipe_s(tmp_path):
    options = _parser().parse_args(["--data", "D", "--base", "random:vit-tiny", "--size", "0"])
    assert experiment_config(options, "mobile", tmp_path, "").size == 0  # refused by the network, not replaced
