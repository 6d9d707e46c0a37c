"""From rendered portraits to measured figures through the real detection, alignment, training and evaluation."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import train as train_script
from infant_fer import Analyzer
from infant_fer import evaluate as evaluate_script
from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.data.datasets import read_labeled_images
from infant_fer.evaluation.comparison import evaluate
from infant_fer.evaluation.report import PRIVATE
from infant_fer.images import load_image
from infant_fer.labels import AFFECTS
from infant_fer.synthetic.__main__ import main as render
from infant_fer.training import pretrained
from tests.conftest import EXAMPLES
from tests.tiny_checkpoints import edit, save_tiny
from tests.training.test_trainer import tiny_vit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def portraits(tmp_path_factory) -> Path:
    """Thirty-five rendered portraits of seven infants: three infants for training, two each for dev and test."""
    folder = tmp_path_factory.mktemp("portraits")
    words = ["--n", "35", "--size", "128", "--turned", "0.3", "--covered", "0"]
    assert not render(["--out", str(folder), *words, "--expressions", "smile", "neutral", "cry"])
    table = pd.read_csv(folder / "manifest.csv")[["file", "subject", "affect"]]
    table["split"] = np.select([table.subject < 3, table.subject < 5], ["train", "dev"], "test")
    table.to_csv(folder / "manifest.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def trained(portraits, tmp_path_factory) -> Path:
    """A checkpoint trained on them by `train.py`, which finds and aligns the faces itself."""
    home = tmp_path_factory.mktemp("home")
    words = ["--data", portraits, "--base", "random:tiny", "--size", 32, "--split", "given", "--recipe", "mobile"]
    words += ["--epochs", 1, "--output", home / "mine", "--cache", home / "cache"]
    words += ["--watch", EXAMPLES / "smile.jpg"]
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(home)
        patched.setitem(pretrained.SHAPES, "tiny", tiny_vit)
        patched.setattr("sys.argv", ["train.py", *map(str, words)])
        assert train_script.main() == 0
    return home / "mine"


def test_evaluation_finds_the_faces_anew_and_gives_the_figures_of_the_training(trained, portraits, tmp_path):
    words = [
        trained,
        "--data",
        portraits,
        "--part",
        "test",
        "--cache",
        tmp_path / "another",
        "--json",
        tmp_path / "out",
    ]
    assert evaluate_script.main([str(word) for word in words]) == 0
    stored = json.loads((trained / "metrics.json").read_text("utf-8"))
    measured = json.loads((tmp_path / "out").read_text("utf-8"))["mine"]
    expected = stored["figures"]["test"]
    cost = measured.pop("cost")
    assert cost["parameters"] == sum(each.numel() for each in load_checkpoint(trained).model.parameters())
    assert cost["milliseconds"] > 0
    assert measured.pop("pictures without a face") <= 35 - sum(
        sum(classes.values()) for classes in stored["run"]["counts"].values()
    )
    numbers = [name for name, value in expected.items() if isinstance(value, float)]
    assert len(numbers) > 5
    assert [measured.pop(name) for name in numbers] == pytest.approx([expected.pop(name) for name in numbers])
    assert measured == expected
    assert measured["accuracy"]["n"] >= 5
    assert measured["accuracy"]["infants"] < measured["accuracy"]["n"]
    counted = [sum(classes.values()) for classes in stored["run"]["counts"].values()]
    assert sum(counted) > 30  # faces that were really found


def test_the_report_shows_what_was_watched_while_it_learned(trained):
    html = (trained / "report.html").read_text("utf-8")
    assert "While it learned" in html
    assert html.count("data:image/webp;base64,") == 1
    assert PRIVATE in html
    frames = list((trained.parent / "runs").glob("mine-*/watch/whole-*.png"))
    assert [frame.name for frame in frames] == ["whole-001.png"]


def test_the_app_predicts_what_was_measured(trained, portraits):
    images = read_labeled_images(portraits)
    measured = evaluate([str(trained)], images, "test", trained.parent / "cache").predictions["mine"]
    analyzer = Analyzer.from_pretrained(trained, device="cpu")
    for member, probabilities in zip(measured.members[:3], measured.probabilities, strict=False):
        prediction = analyzer.analyze(load_image(Path(member).read_bytes())).faces[0].prediction
        np.testing.assert_allclose([prediction.probabilities[name] for name in AFFECTS], probabilities, atol=1e-4)


def test_an_ensemble_is_the_mean_of_different_checkpoints(trained, portraits, tiny):
    images, cache = read_labeled_images(portraits), trained.parent / "cache"
    found = evaluate([str(trained), str(tiny)], images, "test", cache, ensemble_weights="mean").predictions
    first, second = found["mine"].probabilities, found[tiny.name].probabilities
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_allclose(found["ensemble"].probabilities, (first + second) / 2)


def test_training_on_whole_pictures_is_said_before_faces_are_measured(trained, portraits, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "portraits")
    run = json.loads((folder / "metrics.json").read_text("utf-8"))["run"]
    edit(folder / "metrics.json", run=run | {"crops": "whole"})
    images, cache = read_labeled_images(portraits), trained.parent / "cache"
    (warning,) = evaluate([str(trained), str(folder)], images, "test", cache).warnings
    assert warning.startswith("portraits was trained on whole pictures. It is measured here on aligned faces")


def test_a_saved_ensemble_answers_as_it_was_measured(trained, portraits, tmp_path, capsys):
    second = save_tiny(tmp_path / "second", "resnet", labels=AFFECTS)
    edit(second / "config.json", face_crop=json.loads((trained / "config.json").read_text("utf-8"))["face_crop"])
    words = [trained, second, "--data", portraits, "--part", "test", "--cache", trained.parent / "cache"]
    words = [str(word) for word in (*words, "--save", tmp_path / "vote")]
    assert evaluate_script.main(words) == 1
    assert "--save writes an ensemble: add --ensemble" in capsys.readouterr().err
    assert not (tmp_path / "vote").exists()
    assert evaluate_script.main([*words, "--ensemble", "classes"]) == 0
    images, cache = read_labeled_images(portraits), trained.parent / "cache"
    measured = evaluate([str(trained), str(second)], images, "test", cache, ensemble_weights="classes").predictions
    saved = evaluate([str(tmp_path / "vote")], images, "test", cache).predictions["vote"]
    np.testing.assert_allclose(saved.probabilities, measured["ensemble"].probabilities, atol=1e-5)
    assert np.abs(measured["mine"].probabilities - measured["second"].probabilities).max() > 0.01
    card = (tmp_path / "vote" / "README.md").read_text("utf-8")
    assert f"- ensemble: {measured['ensemble'].accuracy}" in card


def test_images_that_were_trained_on_are_not_measured_in_silence(trained, portraits, tiny, capsys):
    words = ["--data", str(portraits), "--part", "all", "--cache", str(trained.parent / "cache")]
    assert evaluate_script.main([str(trained), *words]) == 1
    assert re.search(r"was trained on \d+ of the 35 images of 'all'", capsys.readouterr().err)
    assert evaluate_script.main([str(tiny), *words]) == 0
    printed = capsys.readouterr()
    assert "does not record what it was trained on" in printed.err
    assert "95 % interval" in printed.out


def test_reports_name_no_place_on_this_machine(trained, portraits, tmp_path):
    """Two checkpoints of one name, both given by absolute paths."""
    words = [trained, trained, "--data", portraits, "--part", "test", "--cache", trained.parent / "cache", "--gallery"]
    words += ["--json", tmp_path / "out.json", "--report", tmp_path / "out.html"]
    assert evaluate_script.main([str(word) for word in words]) == 0
    page, figures = ((tmp_path / name).read_text("utf-8") for name in ("out.html", "out.json"))
    assert list(json.loads(figures))[:2] == ["mine", "mine (2)"]
    for folder in {*trained.parents, *portraits.parents} - {Path("/")}:
        assert str(folder) not in page + figures
        assert str(folder) not in (trained / "metrics.json").read_text("utf-8")
    assert "Do not publish this page" in page
    assert "ms for one crop on this computer" in page
    assert page.count("<img") >= 4
    assert all(source.startswith("data:image/") for source in re.findall(r'(?:src|href)="?([^"> ]*)', page))


def test_an_output_that_is_an_input_is_refused_before_the_work(trained, portraits, capsys):
    table = portraits / "manifest.csv"
    before = table.read_bytes()
    words = [str(trained), "--data", str(table), "--part", "test", "--json", str(table)]
    assert evaluate_script.main(words) == 1
    assert "is also an input" in capsys.readouterr().err
    assert table.read_bytes() == before
