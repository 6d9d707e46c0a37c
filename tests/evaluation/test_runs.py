"""Whole runs: from the command line to a checkpoint, its report and its figures, and what is refused."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from transformers import ViTImageProcessorPil

import train as train_script
from infant_fer import evaluate as evaluate_script
from infant_fer.alignment import CropSpec
from infant_fer.checkpoints import hub
from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.classifier import AffectClassifier
from infant_fer.data.datasets import read_labeled_images
from infant_fer.data.splits import SPLIT_FILE
from infant_fer.errors import DatasetError
from infant_fer.evaluation import comparison, scores, vote
from infant_fer.labels import ACTION_UNITS, AFFECTS
from infant_fer.models.ensemble import ensemble_of
from infant_fer.models.geometry import GEOMETRY_SIZE
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training import action_units
from infant_fer.training import pretrained as bases
from infant_fer.training.config import run_folder
from infant_fer.training.rendered import RenderedFaces
from tests.drawn_data import infant_rows, named_pictures, store_faces, write_table
from tests.tiny_checkpoints import edit, save_tiny
from tests.training.test_trainer import ROOT, tiny_vit


def scene(label: str, number: int) -> np.ndarray:
    """(64, 64, 3): noise all its own, with a bright band whose height encodes the label; no face is in it."""
    picture = np.random.default_rng(number).integers(0, 90, (8, 8, 3)).astype(np.uint8)
    picture = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_NEAREST)
    top = 4 + 22 * AFFECTS.index(label)
    picture[top : top + 14] = np.minimum(picture[top : top + 14].astype(int) + 120, 255)
    return picture


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Twelve infants with three pictures each."""
    folder = tmp_path_factory.mktemp("labelled")
    for number in range(36):
        label = AFFECTS[number % 3]
        cv2.imwrite(str(folder / f"i{number // 3:02}_{label}.png"), scene(label, number))
    return folder


@pytest.fixture(scope="module")
def cache(labelled, tmp_path_factory):
    """Faces as if they had been found in the labelled pictures, the whole of each: looking for them takes minutes."""
    pictures = read_labeled_images(labelled)
    whole = [
        cv2.resize(cv2.imread(member)[..., ::-1], (32, 32), interpolation=cv2.INTER_AREA) for member in pictures.members
    ]
    geometry = np.random.default_rng(0).normal(size=(len(whole), GEOMETRY_SIZE)).astype(np.float32)
    folder = tmp_path_factory.mktemp("cache")
    store_faces(pictures, folder, np.stack(whole), geometry)
    return folder


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
    assert evaluate_script.main([*words, "--split", "holdout"]) == 1
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


def test_an_ensemble_is_saved_as_one_checkpoint_that_answers_as_it_did(labelled, cache, tmp_path, capsys):
    members = [str(save_tiny(tmp_path / family, family, AFFECTS)) for family in ("vit", "resnet")]
    usual = ["--data", str(labelled), "--cache", str(cache), "--split", "subject", "--json", str(tmp_path / "out.json")]
    vote, report = str(tmp_path / "vote"), tmp_path / "out.html"
    words = ["--ensemble", "classes", "--save", vote, "--report", str(report), "--gallery"]
    assert evaluate_script.main([*members, *usual, *words]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    measured = found["ensemble"]
    named = [each["named"] for each in found["vit"]["votes"]]
    assert len(named) == measured["accuracy"]["n"]
    assert all(list(each) == ["vit", "resnet", "ensemble"] for each in named)
    right = [each["named"]["ensemble"] == each["truth"] for each in found["vit"]["votes"]]
    assert sum(right) == measured["accuracy"]["right"]
    page = report.read_text()
    assert "Classes by model" in page
    assert "Right answers" in page
    assert ". vit: " in page
    assert evaluate_script.main([vote, *usual]) == 0
    alone = json.loads((tmp_path / "out.json").read_text())["vote"]
    assert "votes" not in alone
    assert alone["per class"] == measured["per class"]
    assert alone["Brier score"] == pytest.approx(measured["Brier score"], abs=1e-5)
    assert evaluate_script.main([vote, members[0], *usual, "--ensemble", "mean", "--save", str(tmp_path / "both")]) == 1
    assert "vote has several streams, or is a vote itself" in capsys.readouterr().err
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gallery"], "--gallery shows faces in the report: add --report FILE."),
        (["--maps-limit", "5"], "add --maps METHOD."),
        (["--maps", "gradcam", "--maps-limit", "0"], "--maps-limit must be at least 1; 0 was given."),
        (["--maps", "gradcam", "--maps-limit", "-5"], "--maps-limit must be at least 1; -5 was given."),
        (["--heads"], "vit is not of the recipe infant_face: it has no further heads to measure."),
        (["--ensemble", "mean", "--save", "saved", "EMBEDDED"], "infant-fer-mobile has several streams"),
        (["--ensemble", "mean", "--save", "saved", "WIDER"], "only checkpoints of one margin can vote"),
        (["--ensemble", "classes", "--part", "all"], "Weights of a vote need a dev split"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_evaluation(
    words, message, labelled, cache, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(comparison, "align_images", lambda *_, **__: pytest.fail("pictures were measured"))
    wider = save_tiny(tmp_path / "wider", "vit", AFFECTS)
    edit(wider / "config.json", face_crop={"size": 32, "margin": 0.4})
    others = {"EMBEDDED": ROOT / "checkpoints" / "infant-fer-mobile", "WIDER": wider}
    members = [save_tiny(tmp_path / "vit", "vit", AFFECTS), *(others[word] for word in words if word in others)]
    usual = ["--data", labelled, "--cache", cache, "--split", "subject"]
    words = [tmp_path / word if word == "saved" else word for word in words if word not in others]
    assert evaluate_script.main([str(word) for word in (*members, *usual, *words)]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "saved").exists()


def test_maps_of_emotions_are_refused_before_the_evaluation(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "align_images", lambda *_, **__: pytest.fail("pictures were measured"))
    for number, label in enumerate(("happy", "sad", "neutral")):
        cv2.imwrite(str(tmp_path / f"i{number}_{label}.png"), scene("neutral", number))
    words = [save_tiny(tmp_path / "vit"), "--data", tmp_path, "--cache", cache, "--part", "all", "--maps", "gradcam"]
    assert evaluate_script.main([str(word) for word in words]) == 1
    assert "Maps of a split need the classes positive, neutral, negative; these are " in capsys.readouterr().err


def test_the_table_of_the_research_data_names_its_folder(tmp_path, monkeypatch, capsys):
    """The heads are looked for beside the table: there, older_faces.zip is what lacks first."""
    rows = infant_rows(["train", "dev", "test"] * 3)
    for row in rows:
        row["file"] = f"infants/web/{row['file'].rsplit('/')[-1]}"
    write_table(tmp_path, rows)
    named_pictures(tmp_path / "infants.zip", [row["file"] for row in rows])
    monkeypatch.setattr(comparison, "align_images", lambda *_, **__: pytest.fail("pictures were measured"))
    words = [ROOT / "checkpoints" / "infant-fer-mobile", "--data", tmp_path / "infants.csv", "--heads"]
    assert evaluate_script.main([str(word) for word in words]) == 1
    assert f"{tmp_path / 'older_faces.zip'} could not be opened" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "kind", "said"), [("dev", "classes", True), ("test", "accuracy", False), ("dev", "mean", False)]
)
def test_a_vote_is_not_praised_on_the_rows_of_its_weights(part, kind, said, labelled, cache, tmp_path, capsys):
    members = [str(save_tiny(tmp_path / family, family, AFFECTS)) for family in ("vit", "resnet")]
    words = ["--data", labelled, "--cache", cache, "--split", "subject", "--part", part, "--ensemble", kind]
    words += ["--save", tmp_path / "saved", "--report", tmp_path / "out.html"]
    assert evaluate_script.main([*members, *map(str, words)]) == 0
    assert (comparison.FITTED_WEIGHTS in capsys.readouterr().err) == said
    assert (comparison.FITTED_WEIGHTS in (tmp_path / "saved" / "README.md").read_text()) == said
    assert ("were fitted on these very dev pictures" in (tmp_path / "out.html").read_text()) == said


@pytest.mark.parametrize("kind", ["mean", "classes"])
def test_averaged_folds_vote_with_the_weight_of_one_checkpoint(kind, labelled, cache, tmp_path, monkeypatch):
    folds = [load_checkpoint(save_tiny(tmp_path / f"fold{n}", "vit", AFFECTS, seed=n)) for n in range(3)]
    ensemble_of([each.model for each in folds]).save_pretrained(tmp_path / "folds")
    folds[0].processor.save_pretrained(tmp_path / "folds")
    members = [str(tmp_path / "folds"), str(save_tiny(tmp_path / "resnet", "resnet", AFFECTS))]
    for member in members:
        (Path(member) / SPLIT_FILE).write_text("sha256,subject,split\n")
    images = read_labeled_images(labelled)
    found = comparison.evaluate(members, images, "dev", cache, "subject", kind)
    vote.save_vote(members, found, tmp_path / "vote")
    assert len(load_checkpoint(tmp_path / "vote").model.members) == 4
    assert (tmp_path / "vote" / SPLIT_FILE).read_text() == "sha256,subject,split\n"
    saved = comparison.evaluate([str(tmp_path / "vote")], images, "dev", cache, "subject").predictions["vote"]
    np.testing.assert_allclose(saved.probabilities, found.predictions["ensemble"].probabilities, atol=1e-5)
    monkeypatch.setattr(vote, "MOST_MEMBERS", 3)
    with pytest.raises(DatasetError, match="have 4 networks; at most 3 can vote"):
        vote.save_vote(members, found, tmp_path / "more")


def test_the_spread_of_25_pictures_is_printed_written_and_in_the_report(tmp_path, monkeypatch, capsys):
    folder, checkpoint = tmp_path / "portraits", save_tiny(tmp_path / "vit", "vit", AFFECTS)
    folder.mkdir()
    for number in range(153):
        (folder / f"i{number:03}_{AFFECTS[number % 3]}.png").write_bytes(b"%d" % number)
    crops = np.random.default_rng(0).integers(0, 256, (153, 32, 32, 3), np.uint8)
    store_faces(read_labeled_images(folder), tmp_path / "cache", crops, np.zeros((153, GEOMETRY_SIZE)))
    monkeypatch.setattr(scores, "thesis_spread", partial(scores.thesis_spread, draws=4))
    json_file, report = tmp_path / "out.json", tmp_path / "out.html"
    words = [checkpoint, "--data", folder, "--part", "all", "--cache", tmp_path / "cache", "--spread"]
    words += ["--json", json_file, "--report", report]
    assert evaluate_script.main([str(word) for word in words]) == 0
    spread = json.loads(json_file.read_text())["vit"]["spread over thesis splits"]
    assert (spread["splits"], spread["test pictures"]) == (4, 25)
    sentence = f"over 4 splits with 25 test pictures: mean {spread['mean'] * 100:.1f} %"
    assert sentence in capsys.readouterr().out
    assert sentence in report.read_text()
    assert "What 25 test pictures can tell" in report.read_text()


def test_the_weights_of_a_vote_are_of_the_dev_pictures_with_a_face(labelled, cache, tmp_path, monkeypatch):
    align = comparison.align_images

    def half(images, *given, **named):
        found = align(images, *given, **named)
        return replace(found, found=np.arange(36) % 4 > 1) if len(found) == 36 else found

    monkeypatch.setattr(comparison, "align_images", half)
    members = [str(save_tiny(tmp_path / family, family, AFFECTS)) for family in ("vit", "resnet")]
    found = comparison.evaluate(members, read_labeled_images(labelled), "dev", cache, "subject", "accuracy")
    measured = [found.predictions[name].accuracy for name in ("vit", "resnet")]
    assert 0 < measured[0].n < 6
    assert found.weights.tolist() == [each.value for each in measured]


def test_pictures_that_are_left_out_are_counted_and_named(labelled, cache, tmp_path, monkeypatch, capsys):
    align, folder = comparison.align_images, tmp_path / "portraits"
    shutil.copytree(labelled, folder)
    (folder / "i99_happy.gif").write_bytes(b"is not read")

    def half(images, *given, **named):
        found = align(images, *given, **named)
        return replace(found, found=np.arange(36) % 4 > 1) if len(found) == 36 else found

    monkeypatch.setattr(comparison, "align_images", half)
    words = [save_tiny(tmp_path / "vit", "vit", AFFECTS), "--data", folder, "--cache", cache, "--part", "all"]
    words += ["--json", tmp_path / "out.json", "--report", tmp_path / "out.html"]
    assert evaluate_script.main([str(word) for word in words]) == 0
    out, err = capsys.readouterr()
    sentence = "In 18 of the 36 pictures of 'all' no face was found; no figure counts them."
    assert sentence in out
    assert sentence.replace("'", "&#39;") in (tmp_path / "out.html").read_text()
    figures = json.loads((tmp_path / "out.json").read_text())["vit"]
    assert (figures["accuracy"]["n"], figures["pictures without a face"]) == (18, 18)
    assert "no face in 18 of 36 pictures, left out: " in err
    images = read_labeled_images(folder)
    assert images.left_out
    for line in (*images.left_out, *images.notes):
        assert line in err


def test_two_equal_files_are_of_one_infant(labelled, cache, tmp_path):
    folder, member = tmp_path / "portraits", save_tiny(tmp_path / "vit", "vit", AFFECTS)
    folder.mkdir()
    for number, picture in enumerate([*sorted(labelled.iterdir()), min(labelled.iterdir())]):
        (folder / f"i{number:02}_{picture.stem.partition('_')[2]}.png").write_bytes(picture.read_bytes())
    (found,) = comparison.evaluate([str(member)], read_labeled_images(folder), "all", cache).models.values()
    assert found.accuracy.infants == found.accuracy.n - 1 == 36


def test_a_record_that_knows_none_of_the_pictures_is_a_record(labelled, cache, tmp_path):
    member = save_tiny(tmp_path / "vit", "vit", AFFECTS)
    images = read_labeled_images(labelled)
    (warning,) = comparison.evaluate([str(member)], images, "all", cache).warnings
    assert "vit does not record what it was trained on" in warning
    (member / SPLIT_FILE).write_text(f"sha256,subject,split\n{'0' * 64},1,train\n")
    assert comparison.evaluate([str(member)], images, "all", cache).warnings == ()


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
