"""Whole runs: from the command line to a checkpoint, its report and its figures, and what is refused."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict

import cv2
import numpy as np
import pytest
from transformers import ViTImageProcessorPil

import train as train_script
from infant_fer import evaluate as evaluate_script
from infant_fer.alignment import CropSpec
from infant_fer.checkpoints import hub
from infant_fer.classifier import AffectClassifier
from infant_fer.data.datasets import read_labeled_images
from infant_fer.evaluation import mean_maps
from infant_fer.face import LANDMARK_COUNT
from infant_fer.labels import ACTION_UNITS, AFFECTS
from infant_fer.models.geometry import GEOMETRY_SIZE
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training import action_units, experiment
from infant_fer.training import pretrained as bases
from infant_fer.training.config import run_folder
from infant_fer.training.rendered import RenderedFaces
from infant_fer.training.reports.history import steps_of
from tests.drawn_data import scene
from tests.tiny_checkpoints import edit, save_tiny
from tests.training.test_report import check_protocol
from tests.training.test_trainer import ROOT, tiny_vit


@pytest.fixture(autouse=True)
def _tiny_shape(monkeypatch):
    monkeypatch.setitem(bases.SHAPES, "tiny", tiny_vit)


def call(monkeypatch, script, *words) -> int:
    monkeypatch.setattr("sys.argv", ["script", *map(str, words)])
    return script.main()


@pytest.fixture(scope="module")
def finished(labelled, cache, tmp_path_factory):
    """One run from the command line: recipe, folds, report; gives its folder."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(home)
        patched.setitem(bases.SHAPES, "tiny", tiny_vit)
        words = ["--data", labelled, "--base", "random:tiny", "--size", 32, "--split", "subject", "--cache", cache]
        words += ["--recipe", "mobile", "--epochs", 2, "--folds", 3, "--repeats", 2, "--output", home / "mine"]
        words += ["--size-curve", "--set", "batch=8"]
        assert call(patched, train_script, *words) == 0
    return home / "mine"


@pytest.mark.slow
def test_a_run_leaves_a_checkpoint_that_the_app_loads(finished):
    assert sorted(file.name for file in finished.iterdir()) == [
        "README.md", "config.json", "metrics.json", "model.safetensors", "preprocessor_config.json", "report.html", "split.csv",
    ]  # fmt: skip
    classifier = AffectClassifier.from_pretrained(finished, device="cpu")
    assert classifier.labels == AFFECTS
    assert classifier.crop.size == 32
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["run"]["counts"]["train"]["positive"] > 0
    repeated = metrics["figures"]["cross-validation"]
    assert repeated["accuracy"]["n"] == 36  # repeats add no images
    assert repeated["accuracy"]["per repeat"] == [each["accuracy"]["value"] for each in repeated["repeats"]]
    assert len(repeated["repeats"]) == 2
    assert [int(count) % 3 for count in metrics["size curve"]] == [0, 0, 0, 0]  # whole infants
    held_out = metrics["figures"]["test"]["accuracy"]
    assert list(metrics["size curve"].values())[-1] == held_out
    card = (finished / "README.md").read_text()
    assert "95 % interval" in card
    assert "Not a medical device" in card
    assert "random weights" in card
    assert not list(finished.parent.glob("*.part"))


@pytest.mark.slow
def test_rivals_are_trained_alike_and_the_best_on_dev_is_kept(labelled, cache, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    old = run_folder(tmp_path / "runs", tmp_path / "best-random-tiny")
    (old / "whole" / "checkpoint-99").mkdir(parents=True)
    (old / "started.json").write_text("{}")
    words = ["--data", labelled, "--size", 32, "--split", "subject", "--cache", cache, "--recipe", "mobile"]
    words += ["--compare", "random:tiny", "random:mobilenet-v2", "--epochs", 1, "--output", tmp_path / "best"]
    assert call(monkeypatch, train_script, *words) == 0
    run = json.loads((tmp_path / "best" / "metrics.json").read_text())["run"]
    assert set(run["compared"]) == {"random:tiny", "random:mobilenet-v2"}
    best = max(run["compared"], key=lambda name: run["compared"][name]["accuracy"]["value"])
    assert {"loss", "macro F1", "minutes"} <= set(run["compared"][best])
    assert "random:mobilenet-v2 | dev |" in (tmp_path / "best" / "README.md").read_text()
    assert "Compared on dev" in (tmp_path / "best" / "report.html").read_text()
    assert run["base"].startswith(best.removeprefix("random:"))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["best", "runs"]
    assert not (old / "whole" / "checkpoint-99").exists()  # else a later --resume would go on with an older run


@pytest.mark.slow
def test_the_thesis_s_protocol_on_a_folder_of_portraits(monkeypatch, tmp_path):
    """Whole pictures, its split and classes, two bases: one report with the tables and figures that docs/studies.md names."""
    mesh = np.random.default_rng(0).uniform(4, 28, (LANDMARK_COUNT, 2))
    monkeypatch.setattr(mean_maps, "mesh_in_crop", lambda finder, crop: mesh)  # no face is in the drawn pictures
    monkeypatch.setitem(bases.SHAPES, "other", tiny_vit)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "portraits").mkdir()
    for number in range(150):
        label = AFFECTS[(number >= 58) + (number >= 110)]
        picture = cv2.resize(scene(label, number), (48, 64))
        cv2.imwrite(str(tmp_path / "portraits" / f"{number:03}_{label}.png"), picture)
    words = [
        "--recipe",
        "thesis",
        "--data",
        "portraits",
        "--split",
        "thesis-classes",
        "--size",
        32,
        "--output",
        "thesis",
    ]
    assert call(monkeypatch, train_script, *words, "--compare", "random:tiny", "random:other") == 0
    run = json.loads((tmp_path / "thesis" / "metrics.json").read_text())["run"]
    assert list(run["counts"]) == ["train", "dev", "test"]
    assert [list(run["counts"][split].values()) for split in run["counts"]] == [[37, 34, 29], [10, 10, 5], [11, 8, 6]]
    assert [run["settings"][name] for name in ("epochs", "keep", "batch")] == [5, "last", 32]
    check_protocol((tmp_path / "thesis" / "report.html").read_text())


@pytest.mark.slow
def test_averaged_folds_leave_their_logs_and_are_compared_by_them(labelled, cache, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ["--data", labelled, "--base", "random:tiny", "--size", 32, "--cache", cache, "--recipe", "affectnet"]
    words += ["--folds", 3, "--epochs", 2, "--set", "head_epochs=1", "batch=8", "--vary", "seed=0,1"]
    compared_with = []
    monkeypatch.setattr(experiment, "baselines", lambda train, measured: compared_with.append(len(train)) or {})
    assert call(monkeypatch, train_script, *words, "--output", tmp_path / "mine") == 0
    metrics = json.loads((tmp_path / "mine" / "metrics.json").read_text())
    assert metrics["history"] == []
    assert [set(steps_of(each["history"])) for each in metrics["folds"]] == [{"head", "whole"}] * 3
    folds = [each["accuracy"] for each in metrics["folds"]]
    assert sum(each["n"] for each in folds) == metrics["figures"]["cross-validation"]["accuracy"]["n"]
    assert compared_with == [sum(each["n"] for each in folds)] * 2  # baselines learn what the folds do
    right = sum(each["right"] for each in folds) / sum(each["n"] for each in folds)
    assert right == pytest.approx(metrics["figures"]["cross-validation"]["accuracy"]["value"])
    page = (tmp_path / "mine" / "report.html").read_text()
    for words in ("Compared in cross-validation", "Of each, the mean over its folds", "Thick: the mean over 3 folds"):
        assert words in page
    assert "over the 3 folds" in page
    assert "the 3 folds kept" in page
    assert "accuracy in cross-validation:" in (tmp_path / "mine" / "README.md").read_text()


@pytest.mark.slow
def test_action_units_beside_the_classes_and_without(labelled, cache, monkeypatch, tmp_path):
    """The option through the command line; the faces stand for renders, with a unit that is their brightness."""
    crops = read_labeled_images(labelled)
    luminance = np.stack([cv2.resize(cv2.imread(member, cv2.IMREAD_GRAYSCALE), (96, 96)) for member in crops.members])
    units = np.repeat(luminance.mean((1, 2), keepdims=True)[:, 0] / 255, len(ACTION_UNITS), 1).astype(np.float32)
    renders = RenderedFaces(luminance, np.zeros_like(luminance), units, np.arange(len(units)))
    monkeypatch.setattr(action_units, "rendered_faces", lambda count, covered, cache: renders)
    monkeypatch.chdir(tmp_path)
    words = ["--data", labelled, "--size", 32, "--cache", cache, "--recipe", "iface", "--base", "random:tiny"]
    words += ["--epochs", 1, "--set", "head_epochs=1", "batch=8", "--output", tmp_path / "units"]
    assert call(monkeypatch, train_script, *words, "--vary", "aux=none,action-units") == 0
    run = json.loads((tmp_path / "units" / "metrics.json").read_text())["run"]
    assert set(run["compared"]) == {"aux=none", "aux=action-units"}
    assert call(monkeypatch, train_script, *words, "--aux", "action-units") == 0
    run = json.loads((tmp_path / "units" / "metrics.json").read_text())["run"]
    assert run["action units"]["renders"]["n"] == 8  # every fifth of 36
    assert -1 <= run["action units"]["dev"]["mean correlation"] <= 1
    assert run["processor minutes"] >= 0
    card = (tmp_path / "units" / "README.md").read_text()
    assert "also from 28 renders; the weights hold no head for them" in card
    assert AffectClassifier.from_pretrained(tmp_path / "units", device="cpu").labels == AFFECTS
    assert call(monkeypatch, train_script, *words, "--aux", "ages") == 1
    assert call(monkeypatch, train_script, *words, "--vary", "base=random:tiny,random:resnet18") == 1  # beside --base


@pytest.mark.slow
def test_two_processes_share_a_run(labelled, cache, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = ["--data", labelled, "--base", "random:vit-tiny", "--size", 32, "--recipe", "mobile", "--epochs", 1]
    words += ["--split", "subject", "--output", tmp_path / "mine", "--cache", cache]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    script = [str(ROOT / "train.py"), *map(str, words)]
    done = subprocess.run(
        [*command, *script], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.count("written to") == 1
    assert AffectClassifier.from_pretrained(tmp_path / "mine", device="cpu").labels == AFFECTS


@pytest.mark.slow
def test_the_report_is_whole_and_loads_nothing(finished):
    page = (finished / "report.html").read_text()
    assert all(source.startswith("data:image/") for source in re.findall(r'(?:src|href)="?([^"> ]*)', page))
    assert "http" not in re.sub(r"data:[^\"]*", "", page)
    assert page.count("<img") >= 5
    assert "gap of" in page
    assert "Wrong answers" not in page  # faces are shown only with --gallery


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "magic"], "no recipe 'magic'"),
        (["--recipe", "infant_face", "--base", "random:tiny"], "takes no --epochs, --split"),
        (["--recipe", "infant_face", "--repeats", "2"], "takes no --epochs, --size, --split, --repeats"),
        (["--gallery", "--push-to-hub", "me/mine"], "private pictures"),
        (["--watch", "smile.jpg", "--push-to-hub", "me/mine"], "--watch shows private pictures"),
        (
            ["--recipe", "infant_face", "--only-member", "1", "--push-to-hub", "me/mine"],
            "--only-member writes no checkpoint",
        ),
        (["--folds", "2", "--average-folds", "--size-curve"], "--size-curve compares single networks"),
        (["--watch", "smile.jpg", "--folds", "2", "--average-folds"], "--watch follows one training"),
        (["--no-test"], "--no-test is for the recipe infant_face"),
        (["--folds", "11", "--repeats", "3", "--average-folds"], "more than the 32 models"),
        (["--set", "batch=0"], "batch must be at least 1"),
        (["--base", "random:giant"], "no shape 'giant'"),
        (["--split", "thesis"], "150 pictures"),
        (["--folds", "30"], "Use fewer folds"),
        (["--folds", "1"], "at least 2 folds"),
        (["--folds", "3", "--average-folds", "--repeats", "0"], "--repeats at least 1"),
        (["--classes", "positive", "negative"], "give no neutral class"),
    ],
)
def test_faults_are_one_sentence_and_leave_nothing(words, message, labelled, cache, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    base = [] if "--base" in words else ["--base", "random:tiny", "--size", 32]
    usual = [] if "--recipe" in words else ["--recipe", "mobile"]
    split = [] if "--split" in words else ["--split", "subject"]
    usual += ["--data", labelled, "--output", tmp_path / "out", "--epochs", 1, "--cache", cache]
    assert call(monkeypatch, train_script, *usual, *base, *split, *words) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_is_gone_on_with_only_as_it_was_begun(finished, labelled, cache, monkeypatch, capsys):
    monkeypatch.chdir(finished.parent)
    words = ["--data", labelled, "--base", "random:tiny", "--size", 32, "--split", "subject", "--cache", cache]
    words += ["--recipe", "mobile", "--epochs", 2, "--folds", 3, "--repeats", 2, "--output", finished, "--resume"]
    assert call(monkeypatch, train_script, *words, "--seed", 7, "--set", "batch=8") == 1
    assert "had another split_sha256, another seed" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluation_splits_the_images_as_the_training_did(finished, labelled, cache, tmp_path, capsys):
    words = [str(finished), "--data", str(labelled), "--part", "test", "--cache", str(cache)]
    assert evaluate_script.main([*words, "--json", str(tmp_path / "out.json")]) == 0
    measured = json.loads((finished / "metrics.json").read_text())["figures"]["test"]
    assert json.loads((tmp_path / "out.json").read_text())["mine"]["per class"] == measured["per class"]
    seen = shutil.copytree(finished, tmp_path / "seen")
    record = seen / "split.csv"
    record.write_text(re.sub(r"\b(dev|test)$", "train", record.read_text(), flags=re.MULTILINE))
    assert evaluate_script.main([str(seen), *words[1:], "--split", "holdout"]) == 1
    assert re.search(r"was trained on \d+ of the \d+ images of 'test'", capsys.readouterr().err)


@pytest.mark.slow
def test_the_embedded_kind_of_model_can_be_fine_tuned(labelled, cache, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    sizes = {"image_size": 32, "stem_width": 8, "widths": (8, 16), "blocks_per_stage": 1, "transformer_layers": 1}
    others = {"members": 2, "geometry_size": GEOMETRY_SIZE, "face_crop": asdict(CropSpec(32)), "logit_temperature": 2.0}
    InfantFaceModel(InfantFaceConfig(**sizes, **others)).save_pretrained(tmp_path / "base")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "base")
    words = ["--data", labelled, "--base", tmp_path / "base", "--split", "subject", "--cache", cache]
    words += ["--recipe", "iface", "--epochs", 1, "--output", tmp_path / "mine"]
    assert call(monkeypatch, train_script, *words) == 0
    model = AffectClassifier.from_pretrained(tmp_path / "mine", device="cpu")._model
    assert model.geometry is None
    assert model.config.members == 2
    assert model.config.logit_temperature == 1  # the base's was fitted to other weights
    assert call(monkeypatch, train_script, *words, "--classes", "positive", "negative") == 1
    assert "give no neutral class" in capsys.readouterr().err


def test_warped_faces_have_a_teacher_that_sees_the_same_crop(labelled, cache, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    teacher = save_tiny(tmp_path / "teacher", labels=AFFECTS)
    edit(teacher / "config.json", face_crop={"size": 32, "margin": 0.3})
    words = ["--data", labelled, "--base", "random:tiny", "--size", 32, "--recipe", "mobile", "--cache", cache]
    words += ["--balance", "warped:positive", "--teacher", teacher, "--output", tmp_path / "out"]
    assert call(monkeypatch, train_script, *words) == 1
    assert "Use a teacher with the same crop" in capsys.readouterr().err


def test_a_base_with_pickles_is_refused(tmp_path, labelled, monkeypatch, capsys):
    folder = save_tiny(tmp_path / "base")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    words = ["--data", labelled, "--base", folder, "--recipe", "mobile", "--output", tmp_path / "out"]
    assert call(monkeypatch, train_script, *words, "--cache", tmp_path) == 1
    assert "can run code" in capsys.readouterr().err


def test_without_a_network_a_base_can_come_from_a_folder(labelled, cache, monkeypatch, tmp_path, capsys):
    def unreachable(*_, **__):
        raise ConnectionError("Network is unreachable")

    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    monkeypatch.chdir(tmp_path)
    words = ["--data", labelled, "--recipe", "thesis", "--crops", "aligned", "--split", "subject", "--cache", cache]
    assert call(monkeypatch, train_script, *words, "--base", "nobody/unheard-of", "--output", tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert "nobody/unheard-of is not on this computer yet and the Hub cannot be reached" in message
    assert "--base FOLDER" in message


@pytest.mark.slow
def test_an_unreadable_picture_is_named(tmp_path, monkeypatch, capsys):
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"i{number}_{AFFECTS[number % 3]}.png"), scene(AFFECTS[number % 3], number))
    (tmp_path / "i7_neutral.png").write_bytes(b"no picture")
    words = ["--data", tmp_path, "--base", "random:tiny", "--size", 32, "--recipe", "mobile"]
    words += ["--output", tmp_path / "out"]
    assert call(monkeypatch, train_script, *words, "--cache", tmp_path / "cache") == 1
    out, err = capsys.readouterr()
    assert "1 of 7 pictures cannot be read and are left out: " in out
    assert "i7_neutral.png: This file could not be read" in out
    assert "No face was found in any picture" in err  # the six others were searched
