"""`evaluate` from the command line: one checkpoint, votes of several, what is counted, and what is refused."""

import json
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from infant_fer import evaluate as evaluate_script
from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.data.datasets import read_labeled_images
from infant_fer.data.splits import SPLIT_FILE
from infant_fer.errors import DatasetError
from infant_fer.evaluation import comparison, scores, vote
from infant_fer.labels import AFFECTS
from infant_fer.models.ensemble import ensemble_of
from infant_fer.models.geometry import GEOMETRY_SIZE
from tests.drawn_data import infant_rows, named_pictures, scene, store_faces, write_table
from tests.tiny_checkpoints import edit, save_tiny
from tests.training.test_trainer import ROOT


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
        (["--json", "saved", "--report", "saved"], "Two outputs have the same name."),
        (["--json", "MAPS", "--maps", "gradcam", "--card"], "Two outputs have the same name."),
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
    files = {"saved": tmp_path / "saved", "MAPS": tmp_path / "wider" / ".." / "vit" / "maps.json"}
    members = [save_tiny(tmp_path / "vit", "vit", AFFECTS), *(others[word] for word in words if word in others)]
    usual = ["--data", labelled, "--cache", cache, "--split", "subject"]
    words = [files.get(word, word) for word in words if word not in others]
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


def test_too_few_pictures_for_a_spread_are_counted_and_the_way_to_more_is_named():
    words = evaluate_script._spread_words(None, 25)
    assert words.startswith("no spread: it needs 150 measured pictures, and there are 25.")
    assert "train.py --folds" in words
    assert "keeps every infant in one split" in evaluate_script._spread_words(None, 150)


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


def copied(labelled, folder, splits=("train", "test")):
    """Write the 36 pictures and a table in which each is there twice, as two infants, with these own splits."""
    lines = ["file,label,subject,split"]
    folder.mkdir()
    for number, picture in enumerate(sorted(labelled.iterdir())):
        for copy, split in zip("ab", splits, strict=True):
            (folder / f"{number:02}{copy}.png").write_bytes(picture.read_bytes())
            lines.append(f"{number:02}{copy}.png,{picture.stem.partition('_')[2]},{number}{copy},{split}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return read_labeled_images(folder / "labels.csv")


@pytest.mark.parametrize("method", ["subject", "holdout"])
def test_equal_files_are_on_one_side_of_a_split_that_is_drawn(method, labelled, cache, tmp_path, monkeypatch):
    member, images = save_tiny(tmp_path / "vit", "vit", AFFECTS), copied(labelled, tmp_path / "copies")
    fitted = []
    monkeypatch.setattr(comparison, "baselines", lambda train, _: fitted.append(train) or {})
    found = comparison.evaluate([str(member)], images, "test", cache, method)
    measured = {Path(each).stem for each in found.predictions["vit"].members}
    assert all({f"{name[:2]}a", f"{name[:2]}b"} <= measured for name in measured)
    assert not {Path(each).stem[:2] for each in fitted[0].images.members} & {name[:2] for name in measured}
    assert not any("infants there are pictures" in warning for warning in found.warnings)


def test_infants_on_two_sides_of_the_data_s_own_split_are_said(labelled, cache, tmp_path):
    member = save_tiny(tmp_path / "vit", "vit", AFFECTS)
    images = copied(labelled, tmp_path / "copies")
    warnings = comparison.evaluate([str(member)], images, "test", cache).warnings
    assert any(re.match(r"Of \d+ infants there are pictures in 'test' and in train or dev", each) for each in warnings)


def test_pictures_that_the_record_of_the_training_does_not_know_are_counted(labelled, cache, tmp_path):
    """The data set marks its last 27 pictures as test; the record knows one train picture, then one of test, too."""
    folder, member = tmp_path / "copies", save_tiny(tmp_path / "vit", "vit", AFFECTS)
    folder.mkdir()
    lines = ["file,label,subject,split"]
    for number, picture in enumerate(sorted(labelled.iterdir())):
        (folder / picture.name).write_bytes(picture.read_bytes())
        label, split = picture.stem.partition("_")[2], "test" if number > 8 else "train"
        lines.append(f"{picture.name},{label},{number},{split}")
    (folder / "labels.csv").write_text("\n".join(lines))
    images = read_labeled_images(folder / "labels.csv")
    record = f"sha256,subject,split\n{images.digest(0)},1,train\n"
    (member / SPLIT_FILE).write_text(record)
    with pytest.raises(
        DatasetError, match=r"^No picture .* in the split 'test'\. 35 of the 36 pictures .*--split given"
    ):
        comparison.evaluate([str(member)], images, "test", cache)
    (member / SPLIT_FILE).write_text(f"{record}{images.digest(35)},2,test\n")
    found = comparison.evaluate([str(member)], images, "test", cache)
    assert len(found.crops) == 1
    assert found.warnings == (
        "34 of the 36 pictures with a face have no split in the record of the training of vit (split.csv) and are not "
        "measured; with --split given the data set's own splits count.",
    )
    given = comparison.evaluate([str(member)], images, "test", cache, "given")
    assert len(given.crops) == 27
    assert given.warnings == ()


def test_a_data_set_for_tests_alone_is_measured_as_it_is_marked(labelled, cache, tmp_path):
    member, images = str(save_tiny(tmp_path / "vit", "vit", AFFECTS)), read_labeled_images(labelled)
    for method in ("", "given"):
        with pytest.raises(DatasetError, match=r"marks no picture as 'dev'\. Use --part all"):
            comparison.evaluate([member], images, "dev", cache, method)
        marked = replace(images, split=np.array(["test"] * 30 + [""] * 6))
        found = comparison.evaluate([member], marked, "test", cache, method)
        assert list(found.predictions) == ["vit"]
        assert len(found.crops) == 30
        with pytest.raises(DatasetError, match=r"marks no picture as 'dev'\. Use --part all"):
            comparison.evaluate([member], marked, "dev", cache, method)


def test_a_record_that_knows_none_of_the_pictures_is_a_record(labelled, cache, tmp_path):
    member = save_tiny(tmp_path / "vit", "vit", AFFECTS)
    images = read_labeled_images(labelled)
    (warning,) = comparison.evaluate([str(member)], images, "all", cache).warnings
    assert "vit does not record what it was trained on" in warning
    (member / SPLIT_FILE).write_text(f"sha256,subject,split\n{'0' * 64},1,train\n")
    assert comparison.evaluate([str(member)], images, "all", cache).warnings == ()
