"""From a checkpoint and labelled faces to its trust data, by the command line."""

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from infant_fer.alignment import CropSpec
from infant_fer.classifier import AffectClassifier
from infant_fer.data.datasets import read_labeled_images
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import UNKNOWN
from infant_fer.data.splits import write_split
from infant_fer.errors import DatasetError
from infant_fer.evaluate import main as evaluate
from infant_fer.labels import AFFECTS
from infant_fer.metrics import Proportion
from infant_fer.models.geometry import GEOMETRY_SIZE
from infant_fer.training import experiment
from infant_fer.training.infant_face.data import read_infants, read_older
from infant_fer.trust.__main__ import main
from infant_fer.trust.fitting import Infants, TrustFaces, can_fit, fit_trust, fit_trust_of_folds, read_faces
from infant_fer.trust.report import CROSS_FITTED, HEADING, IN_SAMPLE
from infant_fer.trust.store import SETTINGS, TENSORS
from tests.drawn_data import (
    drawn_face,
    infant_row,
    infant_rows,
    named_pictures,
    noisy_faces,
    older_faces,
    store_faces,
    write_table,
)
from tests.tiny_checkpoints import save_tiny


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two faces of each drawn infant, 45 to train and 30 each for dev and test, three rows unusable; 40 older faces, found."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    rows = infant_rows(["train"] * 45 + ["dev"] * 30 + ["test"] * 30)
    drawn = np.stack([drawn_face(row["affect"], number, 32) for number, row in enumerate(rows)])
    noise = random.integers(0, 255, (len(rows), 8, 8, 3)).repeat(4, 1).repeat(4, 2)
    crops = (0.7 * drawn + 0.3 * noise).astype(np.uint8)  # drawn faces alone are near-duplicates
    for row in rows[45:48]:
        row["affect"] = "unusable"
    for number, row in enumerate(rows):
        row["group"] = f"infant {number // 2}"
    named_pictures(folder / "infants.zip", [row["file"] for row in rows])
    older_faces(folder, 20)
    write_table(folder, rows, [*rows[0]])
    others = random.integers(0, 255, (40, 32, 32, 3), np.uint8)
    for read, faces, adults in ((read_infants, crops, False), (read_older, others, True)):
        geometry = np.zeros((len(faces), GEOMETRY_SIZE))
        store_faces(read(folder), folder / "cache", faces, geometry, adults=adults)
    labelled = np.delete(crops, [45, 46, 47], 0)
    store_faces(read_labeled_images(folder / "infants.csv"), folder / "cache", labelled, np.zeros((102, GEOMETRY_SIZE)))
    return folder


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory) -> Path:
    folder = save_tiny(tmp_path_factory.mktemp("checkpoint") / "tiny", labels=AFFECTS)
    (folder / "README.md").write_text("# A tiny checkpoint\n\n## Data and licence\nDrawn.\n")
    (folder / "cats").mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / "cats" / f"{number}.png"), np.full((40, 40, 3), 50 * number, np.uint8))
    words = [str(folder), "--table", str(data / "infants.csv"), "--cache", str(data / "cache"), "--test"]
    for _ in range(2):  # the second time in the place of the first
        assert main([*words, "--group", f"cats={folder / 'cats'}"]) == 0
    shutil.rmtree(folder / "cats")
    return folder


def test_a_checkpoint_gets_its_trust_data_and_loads_with_them(fitted, analyzer):
    trust = AffectClassifier.from_pretrained(fitted, device="cpu").trust
    assert trust.distance is not None
    assert trust.probe is not None  # it has no head for usable faces
    assert {path.name for path in fitted.iterdir()} >= {SETTINGS, TENSORS}


def test_the_figures_are_of_every_split_and_group(fitted):
    found = json.loads((fitted / SETTINGS).read_text())["figures"]
    assert {split: each["n"] for split, each in found.items()} == {"dev": 27, "test": 30}
    assert sum(found["dev"]["verdicts"].values()) == 27
    assert set(found["dev"]["coverage"]) == {"all", *AFFECTS, "source web", "age group baby"}
    assert found["test"]["coverage"]["all"]["n"] == 30
    groups = found["dev"]["out of distribution"]
    assert set(groups) == {"unusable rows", "4 to 8 years", "adults", "cats", "blurred copies", "dark copies"}
    assert groups["cats"]["answered"] == Proportion.of(np.zeros(2, bool)).to_dict()  # without a face no answer is given
    assert groups["unusable rows"]["answered"]["n"] == 3
    assert [groups["dark copies"]["answered"][name] for name in ("n", "infants")] == [27, 14]
    scores = groups["adults"]["scores"]
    assert set(scores) == {"maximum probability", "mahalanobis", "mahalanobis++", "relative mahalanobis", "probe"}
    assert scores["probe"]["AUROC"] > 0.9  # noise against drawn faces


def test_the_card_has_one_section_before_the_data(fitted):
    card = (fitted / "README.md").read_text()
    assert card.count(HEADING) == 1
    assert card.index("# A tiny checkpoint") < card.index(HEADING) < card.index("## Data and licence")
    assert "| test, n = 30 |  |" in card
    assert re.search(r"\| answered \| 50 % \| .*\n\| --- .*\n\| wrong of these \| \d", card)
    assert len(re.findall(r"^\| (?:positive|neutral|negative) \| 0\.00 to ", card, re.MULTILINE)) >= 2


def test_an_evaluation_says_how_far_the_trust_holds(fitted, data, tmp_path, capsys):
    record, page = tmp_path / "figures.json", tmp_path / "page.html"
    words = [
        "--data",
        data / "infants.csv",
        "--part",
        "test",
        "--cache",
        data / "cache",
        "--json",
        record,
        "--report",
        page,
    ]
    assert evaluate([str(fitted), *map(str, words)]) == 0
    found = json.loads(record.read_text())["tiny"]["trust"]
    kept = json.loads((fitted / SETTINGS).read_text())["figures"]["test"]
    assert (found["n"], found["verdicts"], found["AURC"]) == (30, kept["verdicts"], kept["AURC"])
    assert HEADING.removeprefix("## ") in page.read_text()
    assert "risk and coverage), test." in page.read_text()
    assert CROSS_FITTED not in page.read_text()
    assert IN_SAMPLE not in page.read_text()


def test_an_evaluation_on_dev_does_not_call_its_trust_cross_fitted(fitted, data, tmp_path, capsys):
    page = tmp_path / "page.html"
    words = ["--data", data / "infants.csv", "--part", "dev", "--cache", data / "cache", "--report", page]
    assert evaluate([str(fitted), *map(str, words)]) == 0
    assert IN_SAMPLE in capsys.readouterr().err
    shown = html.unescape(page.read_text())
    assert IN_SAMPLE in shown
    assert CROSS_FITTED not in shown
    assert CROSS_FITTED in (fitted / "README.md").read_text()


def test_infants_are_split_as_the_training_of_the_checkpoint_did(data, tmp_path, capsys):
    """The table's own splits are others: what it calls dev was trained on."""
    images, folder = read_infants(data), save_tiny(tmp_path / "tiny", labels=AFFECTS)
    rated = images.truth != UNKNOWN
    recorded = np.where(np.arange(len(images)) < 80, "train", "dev")
    write_split(folder, images, np.where(rated, recorded, ""))
    checkpoint = SimpleNamespace(folder=folder, crop=CropSpec(32), name="tiny")
    faces = read_faces(checkpoint, Infants(data / "infants.csv"), None, data / "cache")
    found = faces.infants.images.split
    assert found[rated].tolist() == recorded[rated].tolist()
    assert found[~rated].tolist() == ["train", "dev", "dev"]  # one of an infant that was trained on
    assert faces.others is not None
    with pytest.raises(DatasetError, match=r"tiny records how .* Leave --split out"):
        read_faces(checkpoint, Infants(data / "infants.csv", split_method="subject"), None, data / "cache")
    write_split(
        folder, images, np.where(rated, np.where(images.split == "test", "test", "train"), "")
    )  # averaged folds
    assert main([str(folder), "--table", str(data / "infants.csv"), "--cache", str(data / "cache")]) == 1
    assert "at least 20 dev faces" in capsys.readouterr().err


def test_copies_of_one_picture_are_one_infant(tmp_path):
    rows = infant_rows(["train", "dev", "dev", "dev"])
    named_pictures(tmp_path / "infants.zip", [row["file"] for row in rows])
    write_table(tmp_path, rows)
    crops = noisy_faces(rows, np.random.default_rng(0))
    crops[3] = crops[1, :, ::-1]
    store_faces(read_labeled_images(tmp_path), tmp_path / "cache", crops, np.zeros((4, GEOMETRY_SIZE)))
    checkpoint = SimpleNamespace(folder=tmp_path, crop=CropSpec(96))
    subject = read_faces(checkpoint, Infants(tmp_path / "infants.csv"), None, tmp_path / "cache").infants.images.subject
    assert subject[1] == subject[3]
    assert len(set(subject)) == 3


def test_averaged_folds_are_judged_by_what_each_fold_has_not_seen(data, fitted):
    faces = align_images(read_labeled_images(data / "infants.csv"), CropSpec(32), data / "cache")
    model = AffectClassifier.from_pretrained(fitted, device="cpu")._model
    right = 0.8 * np.eye(3)[faces.images.truth] + 0.2 / 3
    right[:10] = np.roll(right[:10], 1, axis=1)  # ten errors
    trust = fit_trust_of_folds(model, faces, right)
    assert trust.distance is None
    found = trust.figures["cross-validation"]
    assert found.n == 102
    assert found.errors_not_answered.n == 10
    assert found.coverage["all"].value >= 0.95


def test_one_held_out_infant_is_too_few(data):
    """Cross-fitting would be left without a face to fit on, at the end of a training."""
    faces = align_images(read_infants(data), CropSpec(32), data / "cache")
    assert can_fit(TrustFaces(faces, None))
    one = replace(faces.images, subject=np.where(faces.images.split == "dev", "one", faces.images.subject))
    assert not can_fit(TrustFaces(replace(faces, images=one), None))


def test_too_few_faces_or_no_own_folder_are_one_sentence(data, tmp_path, capsys):
    few = [infant_row(f"infants/web/{number:03}.jpg", "train" if number < 45 else "test") for number in range(60)]
    write_table(tmp_path, few)
    for name in ("infants.zip", "older_faces.zip"):
        (tmp_path / name).write_bytes((data / name).read_bytes())
    for read, count, adults in ((read_infants, 60, False), (read_older, 40, True)):
        faces = np.zeros((count, 32, 32, 3), np.uint8)
        geometry = np.zeros((count, GEOMETRY_SIZE))
        store_faces(read(tmp_path), tmp_path / "cache", faces, geometry, adults=adults)
    folder = save_tiny(tmp_path / "tiny", labels=AFFECTS)
    assert main([str(folder), "--table", str(tmp_path / "infants.csv"), "--cache", str(tmp_path / "cache")]) == 1
    assert "at least 20 dev faces" in capsys.readouterr().err
    assert not (folder / SETTINGS).exists()


def test_the_pictures_of_a_table_may_be_elsewhere_and_have_no_split(data, tmp_path, capsys):
    rows = infant_rows([""] * 105)
    write_table(tmp_path, rows, ["file", "affect"])
    folder = save_tiny(tmp_path / "tiny", labels=AFFECTS)
    words = [str(folder), "--table", str(tmp_path / "infants.csv"), "--cache", str(data / "cache")]
    for more, message in (
        ([], "Name its folder or zip with --pictures"),
        (["--pictures", str(data / "infants.zip")], "use --split subject"),
        (["--pictures", str(data / "infants.zip"), "--split", "subject"], "at least 20 dev faces"),  # a seventh of 105
    ):
        assert main([*words, *more]) == 1
        assert message in capsys.readouterr().err


def test_a_measurement_without_test_faces_is_refused_before_the_work(data, monkeypatch):
    faces = align_images(read_infants(data), CropSpec(32), data / "cache")
    monkeypatch.setattr("infant_fer.trust.fitting.outputs_for", None)
    for none in ("split", "truth"):
        images = faces.images
        test = images.split == "test"
        absent = {"split": np.where(test, "", images.split), "truth": np.where(test, UNKNOWN, images.truth)}[none]
        without = TrustFaces(replace(faces, images=replace(images, **{none: absent})), None)
        with pytest.raises(DatasetError, match="no test face with an affect"):
            fit_trust(None, None, without, test=True)


def test_a_training_without_a_face_in_test_measures_dev_alone(data, monkeypatch):
    faces = align_images(read_infants(data), CropSpec(32), data / "cache")
    monkeypatch.setattr(experiment, "fit_trust", lambda model, processor, faces, test, log: test)
    base, splits = SimpleNamespace(model=None, processor=None), faces.images.split
    assert experiment._trust(base, faces, splits, print)
    assert not experiment._trust(base, replace(faces, found=splits != "test"), splits, print)


def test_the_research_data_have_no_other_folder_of_pictures(data, tmp_path):
    with pytest.raises(DatasetError, match="Leave --pictures out"):
        read_faces(None, Infants(data / "infants.csv", (tmp_path,)), None, tmp_path)
