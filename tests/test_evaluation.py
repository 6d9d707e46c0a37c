"""Scores known by hand, the overfitting verdict, the plots, and whole runs from the command line to a checkpoint."""

import json
import os
import re
import shutil
import subprocess
import sys
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

import train as train_script
from infant_fer import evaluate as evaluate_script
from infant_fer.alignment import CropSpec
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import DatasetError
from infant_fer.labels import AFFECTS
from infant_fer.training import bases, faces_cache, plots, saving
from infant_fer.training.answers import Answers, joined_answers
from infant_fer.training.datasets import read_pictures
from infant_fer.training.faces_cache import FaceTable
from infant_fer.training.overfitting import Epoch, epochs_of, overfitting
from infant_fer.training.scores import brier, ensemble, mcnemar, scores, subgroup_accuracies, top_two
from tests.test_trainer import ROOT, tiny_vit
from tests.tiny_checkpoints import save_tiny


def answers(probabilities, truth, labels=AFFECTS, **subgroups) -> Answers:
    members = tuple(f"{n}.jpg" for n in range(len(truth)))
    columns = {name: np.array(values) for name, values in subgroups.items()}
    return Answers(tuple(labels), np.array(probabilities, float), np.array(truth), members, columns)


FOUR = answers(
    [[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.5, 0.1, 0.4]],
    [0, 1, 2, 2],
    source=["web", "web", "cam", "cam"],
)


def test_scores_by_hand():
    found = scores(FOUR)
    assert found["accuracy"]["right"] == 2
    assert found["per class"]["negative"]["value"] == 0
    assert found["balanced accuracy"] == pytest.approx(2 / 3)
    assert found["variance over classes"] == pytest.approx(2 / 9)
    assert found["per subgroup"]["source"]["web"]["value"] == 1
    assert (top_two(FOUR).right, top_two(FOUR).n) == (4, 4)
    assert brier(np.array([[0.8, 0.2]]), np.array([0])) == pytest.approx(0.08)
    # negative over neutral: 0.3 / 0.5 for the neutral one, 0.3 / 0.6 and 0.4 / 0.1 for the negative ones
    assert found["AUC negative against neutral"] == 0.5
    assert subgroup_accuracies(FOUR, "source")["cam"].right == 0
    json.dumps(found, allow_nan=False)


def test_a_class_that_never_occurs_is_none_and_no_number():
    found = scores(answers([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]], [0, 0]))
    assert found["per class"]["negative"]["value"] is None
    assert found["AUC negative against neutral"] is None
    assert found["balanced accuracy"] == 1


def test_emotions_are_summed_into_affects_for_the_aucs():
    found = scores(answers([[0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.2, 0.7, 0.1]], [0, 2, 1], ["happy", "sad", "neutral"]))
    assert found["AUC positive against the rest"] == 1
    assert found["AUC negative against neutral"] == 1


def test_an_ensemble_averages_and_weighs():
    first, second = answers([[1, 0, 0]], [0]), answers([[0, 1, 0]], [0])
    np.testing.assert_allclose(ensemble([first, second]).probabilities, [[0.5, 0.5, 0]])
    np.testing.assert_allclose(ensemble([first, second], [3, 1]).probabilities, [[0.75, 0.25, 0]])
    with pytest.raises(DatasetError, match="same classes"):
        ensemble([first, answers([[1, 0, 0]], [0], ["happy", "sad", "fear"])])


def test_mcnemar_needs_the_same_pictures():
    assert mcnemar(FOUR, {"itself": FOUR}) == {"itself": 1.0}
    with pytest.raises(DatasetError, match="same pictures"):
        mcnemar(FOUR, {"other": FOUR.rows(np.array([True, False, True, True]))})
    joined = joined_answers([FOUR, FOUR])
    assert joined.accuracy.n == 8


def epoch(number, train, dev, dev_loss) -> Epoch:
    return Epoch(number, 1 - train, train, dev_loss, dev)


def test_learning_by_heart_is_said():
    found = overfitting([epoch(1, 0.5, 0.5, 1.0), epoch(2, 0.9, 0.7, 0.8), epoch(3, 1.0, 0.7, 0.9)])
    assert found.kept_epoch == 2
    assert found.gap == pytest.approx(0.2)
    assert found.divergence == 3
    assert "much better than new ones" in found.verdict
    assert "epoch 3" in found.verdict
    sound = overfitting([epoch(1, 0.8, 0.78, 0.6), epoch(2, 0.85, 0.84, 0.62)])
    assert sound.divergence is None
    assert "carries over" in sound.verdict
    assert "not yet learned" in overfitting([epoch(1, 0.4, 0.4, 1.1)]).verdict


def test_epochs_come_from_the_last_step_of_the_history():
    def logged(part, number, step):
        scores_ = {f"eval_{part}_loss": 0.5, f"eval_{part}_accuracy": 0.75}
        return {"epoch": number, "step_of_two": step, **scores_}

    history = [
        logged(part, number, step) for step in ("head", "whole") for number in (1.0, 2.0) for part in ("dev", "train")
    ]
    history += [{"epoch": 2.0, "loss": 0.1, "step_of_two": "whole"}]
    assert epochs_of(history) == [Epoch(1.0, 0.5, 0.75, 0.5, 0.75), Epoch(2.0, 0.5, 0.75, 0.5, 0.75)]
    assert epochs_of([]) == []


def test_every_plot_is_a_picture():
    shares = {name: FOUR.accuracy for name in ("one", "two")}
    counts = {"train": dict.fromkeys(AFFECTS, 3), "dev": dict.fromkeys(AFFECTS, 1), "test": dict.fromkeys(AFFECTS, 0)}
    drawn = [
        plots.confusion_matrix(FOUR),
        plots.reliability_diagram(FOUR),
        plots.accuracy_bars(shares),
        plots.learning_curves([epoch(1, 0.5, 0.5, 1.0), epoch(2, 0.9, 0.7, 0.8)]),
        plots.class_counts(counts),
        plots.pixel_values(np.random.default_rng(0).normal(size=(4, 3, 8, 8))),
        plots.size_curve({50: FOUR.accuracy, 100: FOUR.accuracy}),
    ]
    for png in drawn:
        picture = Image.open(BytesIO(png))
        assert picture.format == "PNG"
        assert min(picture.size) > 150
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


# --- whole runs -------------------------------------------------------------------------------------------------------


def scene(label: str, number: int) -> np.ndarray:
    """(64, 64, 3): noise all its own, with a bright band whose height tells the label; no face is in it."""
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
    pictures, spec = read_pictures(labelled), CropSpec(32)
    whole = [
        cv2.resize(cv2.imread(member)[..., ::-1], (32, 32), interpolation=cv2.INTER_AREA) for member in pictures.members
    ]
    geometry = np.random.default_rng(0).normal(size=(len(whole), GEOMETRY_SIZE)).astype(np.float32)
    folder = tmp_path_factory.mktemp("cache")
    table = FaceTable(np.stack(whole), geometry, np.ones(len(whole), bool))
    faces_cache._save(table, folder / f"faces-{faces_cache._key(pictures, spec)}.npz")
    return folder


GEOMETRY_SIZE = 60  # at least the 52 blendshapes


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
        words += ["--recipe", "mobile", "--epochs", 2, "--folds", 3, "--output", home / "mine", "--set", "batch=8"]
        words += ["--size-curve"]
        assert call(patched, train_script, *words) == 0
    return home / "mine"


@pytest.mark.slow
def test_a_run_leaves_a_checkpoint_that_the_app_loads(finished):
    assert sorted(file.name for file in finished.iterdir()) == [
        "README.md", "config.json", "metrics.json", "model.safetensors", "preprocessor_config.json", "report.html",
    ]  # fmt: skip
    classifier = AffectClassifier.from_pretrained(finished, device="cpu")
    assert classifier.labels == AFFECTS
    assert classifier.crop.size == 32
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["run"]["counts"]["train"]["positive"] > 0
    assert metrics["figures"]["cross-validation"]["accuracy"]["n"] == 36
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
    words = ["--data", labelled, "--size", 32, "--split", "subject", "--cache", cache, "--recipe", "mobile"]
    words += ["--compare", "random:tiny", "random:mobilenet-v2", "--epochs", 1, "--output", tmp_path / "best"]
    assert call(monkeypatch, train_script, *words) == 0
    run = json.loads((tmp_path / "best" / "metrics.json").read_text())["run"]
    assert set(run["compared"]) == {"random:tiny", "random:mobilenet-v2"}
    best = max(run["compared"], key=run["compared"].get)
    assert run["base"].startswith(best.removeprefix("random:"))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["best", "runs"]


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
    assert "Wrong answers" not in page  # faces are shown only when asked for


@pytest.mark.slow
def test_measuring_again_gives_the_same_figures(finished, labelled, monkeypatch, tmp_path, capsys):
    # The made pictures show no face, so the checkpoint is measured on the rendered portraits instead.
    from tests.made_data import EXAMPLES

    told = json.loads((EXAMPLES / "portraits.json").read_text())
    assert told
    folder = tmp_path / "portraits"
    folder.mkdir()
    for number, file in enumerate(sorted(EXAMPLES.glob("*.jpg"))):
        shutil.copy(file, folder / f"p{number}_{AFFECTS[number % 3]}.jpg")
    words = [finished, finished, "--data", folder, "--part", "all", "--cache", tmp_path / "cache", "--ensemble", "mean"]
    words += ["--json", tmp_path / "out.json", "--report", tmp_path / "out.html", "--gallery"]
    assert evaluate_script.main([str(word) for word in words]) == 0
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "out.json").read_text())
    assert list(figures) == ["mine", f"mine ({finished})", "ensemble"]
    assert figures["mine"] == figures["ensemble"]
    assert "95 % interval" in printed
    assert "Do not publish this page" in (tmp_path / "out.html").read_text()


def test_a_checkpoint_of_emotions_is_measured_in_affects(tmp_path):
    from infant_fer.training.evaluation import _in_terms_of

    seven = answers(
        [[0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1]], [0], ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    )
    asked = type("Asked", (), {"labels": AFFECTS, "__len__": lambda self: 1})()
    np.testing.assert_allclose(_in_terms_of(asked, seven).probabilities, [[0.1, 0.2, 0.7]])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--recipe", "magic"], "no recipe 'magic'"),
        (["--recipe", "ours", "--base", "random:tiny"], "takes no --base, --epochs, --split"),
        (["--set", "batch=0"], "batch must be at least 1"),
        (["--base", "random:giant"], "no shape 'giant'"),
        (["--split", "thesis"], "150 pictures"),
        (["--folds", "30"], "Ask for fewer folds"),
    ],
)
def test_faults_are_one_sentence_and_leave_nothing(words, told, labelled, cache, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    base = [] if "--base" in words else ["--base", "random:tiny", "--size", 32]
    usual = [] if "--recipe" in words else ["--recipe", "mobile"]
    split = [] if "--split" in words else ["--split", "subject"]
    usual += ["--data", labelled, "--output", tmp_path / "out", "--epochs", 1, "--cache", cache]
    assert call(monkeypatch, train_script, *usual, *base, *split, *words) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_base_with_pickles_is_refused(tmp_path, labelled, monkeypatch, capsys):
    folder = save_tiny(tmp_path / "base")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    words = ["--data", labelled, "--base", folder, "--recipe", "mobile", "--output", tmp_path / "out"]
    assert call(monkeypatch, train_script, *words, "--cache", tmp_path) == 1
    assert "can run code" in capsys.readouterr().err


def test_an_unreadable_picture_is_named(tmp_path, monkeypatch, capsys):
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"i{number}_{AFFECTS[number % 3]}.png"), scene(AFFECTS[number % 3], number))
    (tmp_path / "i7_neutral.png").write_bytes(b"no picture")
    words = ["--data", tmp_path, "--base", "random:tiny", "--size", 32, "--recipe", "mobile"]
    words += ["--output", tmp_path / "out"]
    assert call(monkeypatch, train_script, *words, "--cache", tmp_path / "cache") == 1
    assert "i7_neutral.png" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_under_the_final_name(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("kept")

    def full(folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(DatasetError, match="No space left on device"):
        saving.write_checkpoint(tmp_path / "out", full)
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "old").read_text() == "kept"


def test_folds_become_one_checkpoint_that_answers_with_their_mean(tmp_path):
    import torch

    from infant_fer.checkpoint_safety import check_folder
    from infant_fer.errors import CheckpointError
    from infant_fer.models.ensemble import ensemble_of
    from infant_fer.training.bases import load_base

    members = []
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        members.append(load_base("random:tiny", AFFECTS, 32))
    joined = ensemble_of([member.model for member in members])
    joined.save_pretrained(tmp_path / "mean")
    members[0].processor.save_pretrained(tmp_path / "mean")
    classifier = AffectClassifier.from_pretrained(tmp_path / "mean", device="cpu")
    pixels = torch.rand(2, 3, 32, 32)
    shares = torch.stack([member.model.eval()(pixels).logits.softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(classifier._model(pixel_values=pixels).logits.softmax(1), shares)
    assert classifier.crop.size == 32

    config = json.loads((tmp_path / "mean" / "config.json").read_text())
    for member in ({**config["member"], "auto_map": {"x": "y"}}, {**config["member"], "model_type": "bert"}):
        (tmp_path / "mean" / "config.json").write_text(json.dumps({**config, "member": member}))
        with pytest.raises(CheckpointError):
            check_folder(tmp_path / "mean", "mean")
