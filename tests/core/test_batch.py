"""Many photos read by one command: rows, reports, bad files, what an interruption leaves, and threads."""

import csv
import io
import json
import os
import weakref
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image

from infant_fer.__main__ import main
from infant_fer.batch import photo_files
from infant_fer.errors import CheckpointError
from infant_fer.images import Photo, load_photo
from infant_fer.report import Report
from tests.conftest import EXAMPLES


@pytest.fixture
def folder(tmp_path):
    """Return a folder with pictures of two faces, of one and of none, a damaged one and a text file."""
    for name in ("two_faces.jpg", "smile.jpg"):
        (tmp_path / name).write_bytes((EXAMPLES / name).read_bytes())
    Image.new("RGB", (300, 200), (30, 90, 30)).save(tmp_path / "meadow.png")
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("not a photo")
    return tmp_path


def test_csv_has_a_row_for_every_face_and_every_file(folder, capsys):
    out = folder / "out.csv"
    assert main([str(folder), "--csv", str(out)]) == 0
    rows = list(csv.DictReader(out.open()))
    assert list(rows[0])[:6] == ["file", "face", "label", "positive", "neutral", "negative"]
    found = [(row["file"], row["face"], row["label"]) for row in rows]
    assert found[0] == ("broken.jpg", "", "unreadable")
    assert found[1] == ("meadow.png", "", "no face")
    assert [entry[:2] for entry in found[2:]] == [("smile.jpg", "1"), ("two_faces.jpg", "1"), ("two_faces.jpg", "2")]
    for row in rows[2:]:
        shares = [float(row[name]) for name in ("positive", "neutral", "negative")]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert row["label"] == ("positive", "neutral", "negative")[shares.index(max(shares))]
    assert "broken.jpg: This file could not be read" in capsys.readouterr().err


def test_json_gives_boxes_in_pixels_of_the_full_photo(folder, tmp_path):
    large = tmp_path / "large.jpg"
    Image.open(EXAMPLES / "smile.jpg").resize((2560, 2560)).save(large)
    out = folder / "out.json"
    assert main([str(large), str(folder / "smile.jpg"), "--json", str(out)]) == 0
    big, small = json.loads(out.read_text())
    assert big["photo_size_wh"] == [2560, 2560]
    for a, b in zip(big["faces"][0]["box_xyxy"], small["faces"][0]["box_xyxy"], strict=True):
        assert a / 4 == pytest.approx(b, abs=8)
    assert big["faces"][0]["explanation"] is None


@pytest.mark.slow
def test_html_and_explanations(folder):
    out, report = folder / "out.html", folder / "out.json"
    assert main([str(folder / "smile.jpg"), "--html", str(out), "--json", str(report), "--explain"]) == 0
    assert out.read_text().count("data:image/jpeg;base64,") == 2
    explanation = json.loads(report.read_text())[0]["faces"][0]["explanation"]
    assert explanation["samples"] == explanation["requested_samples"] == 50
    assert sum(explanation["share_per_part"].values()) == pytest.approx(1, abs=1e-3)


def test_a_photo_no_decoder_can_read_does_not_stop_the_next(analyzer, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: analyzer)
    heic = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (60, 40))).save(heic)
    bad = tmp_path / "a_bad.heic"
    bad.write_bytes(heic.getvalue().replace(b"hvcC", b"none"))
    assert main([str(bad), str(EXAMPLES / "smile.jpg")]) == 0
    out, err = capsys.readouterr()
    assert [row["face"] for row in csv.DictReader(io.StringIO(out))] == ["", "1"]
    assert f"{bad}: This file could not be read" in err


class Empty:
    """Finds no face, and counts which of its reports and photos are still alive."""

    def __init__(self):
        self.given, self.alive = [], []

    def analyze(self, path):
        self.alive.append(sum(reference() is not None for reference in self.given))
        report = Report(Photo(np.zeros((40, 60, 3), np.uint8), (60, 40)), (), ("No face was found.",), "none")
        self.given += [weakref.ref(report), weakref.ref(report.photo.rgb)]
        return report


def test_photos_are_forgotten_once_their_results_are_written(monkeypatch, tmp_path):
    reader = Empty()
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: reader)
    outputs = [word for kind in ("json", "csv", "html") for word in (f"--{kind}", str(tmp_path / f"out.{kind}"))]
    assert main([*(f"{number}.jpg" for number in range(6)), *outputs]) == 0
    assert len(reader.alive) == 6
    assert max(reader.alive) <= 2  # the report before, and its photo
    assert len(json.loads((tmp_path / "out.json").read_text())) == 6
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 7
    page = (tmp_path / "out.html").read_text()
    assert page.count("<h2>No face found</h2>") == 6
    assert 'name="viewport"' in page
    assert page.endswith("</body></html>")


@pytest.mark.parametrize("kind", ["json", "csv", "html"])
def test_an_interrupted_run_keeps_its_results_and_the_earlier_file(monkeypatch, tmp_path, capsys, kind):
    class Interrupted(Empty):
        def analyze(self, path):
            if path.name == "2.jpg":
                raise KeyboardInterrupt
            return super().analyze(path)

    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: Interrupted())
    out, beside = tmp_path / f"out.{kind}", tmp_path / f"out.{kind}.part"
    out.write_text("earlier")
    command = ["0.jpg", "1.jpg", "2.jpg", f"--{kind}", str(out)]
    assert main(command) == 130
    assert "Interrupted" in capsys.readouterr().err
    assert out.read_text() == "earlier"
    text = beside.read_text()
    assert "0.jpg" in text
    assert "1.jpg" in text
    assert "2.jpg" not in text
    out.unlink()
    beside.unlink()
    assert main(command) == 130
    assert out.read_text() == text
    assert [file.name for file in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("kind", ["--json", "--csv", "--html"])
@pytest.mark.parametrize("place", ["nowhere/out", ".", "photo.jpg", "link", "/dev/full"])
def test_an_output_that_cannot_be_written_is_refused_before_a_photo_is_read(monkeypatch, tmp_path, capsys, kind, place):
    reader = Empty()
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: reader)
    (tmp_path / "photo.jpg").write_bytes(b"the only copy")
    (tmp_path / "link").symlink_to("photo.jpg")
    assert main([kind, str(tmp_path / place), "0.jpg"]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"{tmp_path / place} ")
    assert message.count("\n") == 1
    assert reader.alive == []
    assert (tmp_path / "photo.jpg").read_bytes() == b"the only copy"


def test_an_input_is_no_output_and_two_outputs_have_two_names(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: Empty())
    photo = tmp_path / "photo"
    photo.write_bytes(b"x")
    assert main([str(photo), "--csv", str(photo)]) == 2
    assert "is also an input" in capsys.readouterr().err
    assert main(["0.jpg", "--csv", str(tmp_path / "out"), "--json", str(tmp_path / "out")]) == 2
    assert "Two outputs" in capsys.readouterr().err


def test_one_bad_item_is_a_row_and_the_rest_goes_on(monkeypatch, tmp_path, capsys):
    """Names that are not UTF-8 or too long, a pipe, a folder, and a library's own fault."""

    class Faulty(Empty):
        def analyze(self, path):
            if path.name == "strange.jpg":
                raise RuntimeError("deep inside")
            if path.name != "fine.jpg":
                load_photo(path)
            return super().analyze(path)

    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: Faulty())
    latin = os.fsencode(tmp_path / "folder") + b"/caf\xe9.jpg"
    (tmp_path / "folder").mkdir()
    Path(os.fsdecode(latin)).write_bytes(b"nothing")
    (tmp_path / "folder" / "._smile.jpg").write_bytes(b"a Mac's note beside a photo")
    os.mkfifo(tmp_path / "pipe.jpg")
    files = ["folder", "a" * 300 + ".jpg", "strange.jpg", "pipe.jpg", "fine.jpg"]
    monkeypatch.chdir(tmp_path)
    outputs = [word for kind in ("json", "csv", "html") for word in (f"--{kind}", str(tmp_path / f"out.{kind}"))]
    assert main([*files, *outputs]) == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [(row["file"], row["label"]) for row in rows] == [
        (r"caf\xe9.jpg", "unreadable"),
        ("a" * 300 + ".jpg", "unreadable"),
        ("strange.jpg", "unreadable"),
        ("pipe.jpg", "unreadable"),
        ("fine.jpg", "no face"),
    ]
    errors = [entry.get("error", "") for entry in json.loads((tmp_path / "out.json").read_text())]
    for error, words in zip(errors, ("could not be read", "too long", "deep inside", "not a file", ""), strict=True):
        assert words in error
    assert errors == [row["notes"] for row in rows[:-1]] + [""]
    assert "RuntimeError: deep inside" in (tmp_path / "out.html").read_text()
    assert "strange.jpg: Unexpected RuntimeError" in capsys.readouterr().err


def test_a_locked_folder_is_a_row(monkeypatch, tmp_path):
    """The tests may run as root, to whom no folder is locked, so the system's answer is given here."""
    (tmp_path / "open.jpg").write_bytes(b"x")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def locked(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    found = photo_files([tmp_path])
    assert [(file.title, file.fault) for file in found] == [
        ("locked", "The folder could not be opened: Permission denied."),
        ("open.jpg", ""),
    ]


def test_a_link_that_leads_nowhere_is_a_row(analyzer, monkeypatch, tmp_path):
    """As the photos of a folder of git-annex whose contents are elsewhere."""
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: analyzer)
    study = tmp_path / "study"
    study.mkdir()
    (study / "gone.jpg").symlink_to(tmp_path / "annex" / "gone.jpg")
    (study / "smile.jpg").symlink_to(EXAMPLES / "smile.jpg")
    assert main([str(study), "--csv", str(tmp_path / "out.csv")]) == 0
    gone, smile = csv.DictReader((tmp_path / "out.csv").open())
    assert (gone["file"], gone["label"], smile["file"]) == ("gone.jpg", "unreadable", "smile.jpg")
    assert "could not be opened" in gone["notes"]


@pytest.mark.parametrize("output", [[], ["--csv", "out.csv"]])
def test_a_map_that_no_output_would_hold_is_refused_before_a_photo_is_read(monkeypatch, tmp_path, capsys, output):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: pytest.fail("the checkpoint was loaded"))
    assert main(["0.jpg", "--explain", *output]) == 2
    assert capsys.readouterr().err == "--explain needs --json or --html: the columns of CSV hold no map.\n"
    assert list(tmp_path.iterdir()) == []


def test_the_csv_has_the_steadiness_of_face_1(analyzer, monkeypatch, tmp_path):
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: analyzer)
    outputs = [word for kind in ("csv", "json") for word in (f"--{kind}", str(tmp_path / f"out.{kind}"))]
    assert main([str(EXAMPLES / "two_faces.jpg"), "--steadiness", *outputs]) == 0
    first, second = csv.DictReader((tmp_path / "out.csv").open())
    (found,) = json.loads((tmp_path / "out.json").read_text())
    counted = found["faces"][0]["assessment"]["steadiness"]
    assert counted["n"] == 32
    assert float(first["steadiness"]) == pytest.approx(counted["same"] / 32, abs=1e-4)
    assert second["steadiness"] == ""


def test_an_explanation_that_fails_leaves_the_answer(analyzer, monkeypatch, tmp_path):
    class Inexplicable:
        analyze = staticmethod(analyzer.analyze)

        def explain(self, report):
            raise CheckpointError("no gradient here")

    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: Inexplicable())
    out = tmp_path / "out.csv"
    outputs = ("--csv", str(out), "--json", str(tmp_path / "out.json"))
    assert main([str(EXAMPLES / "smile.jpg"), "--explain", *outputs]) == 0
    (row,) = csv.DictReader(out.open())
    assert row["label"] == "positive"
    assert row["notes"].endswith("no gradient here")


@pytest.fixture
def two_threads():
    """Give torch two threads, as on a computer of two cores: the tests themselves run on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_a_photo_is_read_with_one_thread_and_explained_with_all(two_threads, analyzer, monkeypatch, tmp_path):
    threads = []

    class Watched:
        def analyze(self, path):
            threads.append(("analyze", torch.get_num_threads()))
            return analyzer.analyze(path)

        def explain(self, report):
            threads.append(("explain", torch.get_num_threads()))
            return report

    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: Watched())
    (tmp_path / "a_bad.jpg").write_bytes(b"no photo")
    files = [str(tmp_path / "a_bad.jpg"), str(EXAMPLES / "smile.jpg")]
    assert main([*files, "--explain", "--json", str(tmp_path / "out.json")]) == 0
    assert threads == [("analyze", 1), ("analyze", 1), ("explain", 2)]
    assert torch.get_num_threads() == 2


def test_an_interrupted_photo_gives_the_threads_back(two_threads, monkeypatch, tmp_path):
    class Interrupted(Empty):
        def analyze(self, path):
            raise KeyboardInterrupt

    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: Interrupted())
    assert main(["0.jpg", "--csv", str(tmp_path / "out.csv")]) == 130
    assert torch.get_num_threads() == 2
