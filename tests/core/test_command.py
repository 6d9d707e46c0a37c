"""`python -m infant_fer`: rows, reports, exit codes."""

import csv
import io
import json
import subprocess
import sys
import weakref

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from infant_fer.__main__ import main
from infant_fer.images import Photo
from infant_fer.report import Report
from tests.conftest import EXAMPLES, ROOT


@pytest.fixture
def folder(tmp_path):
    """Two faces, no face, no photo, and a file that is none of our business."""
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
    found = [(row["file"].rsplit("/", 1)[1], row["face"], row["label"]) for row in rows]
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


def test_html_and_explanations(folder):
    out, report = folder / "out.html", folder / "out.json"
    assert main([str(folder / "smile.jpg"), "--html", str(out), "--json", str(report), "--explain"]) == 0
    assert out.read_text().count("data:image/jpeg;base64,") == 2
    explanation = json.loads(report.read_text())[0]["faces"][0]["explanation"]
    assert explanation["samples"] == 50
    assert sum(explanation["share_per_part"].values()) == pytest.approx(1, abs=1e-3)


def test_exit_codes(folder, capsys):
    assert main([str(folder / "broken.jpg")]) == 1
    assert main([str(folder / "nowhere")]) == 1
    empty = folder / "empty"
    empty.mkdir()
    assert main([str(empty)]) == 1
    assert "No photo was found" in capsys.readouterr().err
    assert main([str(folder / "smile.jpg"), "--checkpoint", str(empty)]) == 2


def test_a_photo_no_decoder_can_read_does_not_stop_the_next(analyzer, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda options: analyzer)
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
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda options: reader)
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


def test_an_interrupted_run_keeps_the_rows_it_has(monkeypatch, tmp_path):
    class Interrupted(Empty):
        def analyze(self, path):
            if path.name == "2.jpg":
                raise KeyboardInterrupt
            return super().analyze(path)

    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda options: Interrupted())
    out = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        main(["0.jpg", "1.jpg", "2.jpg", "--csv", str(out)])
    assert [row["file"] for row in csv.DictReader(out.open())] == ["0.jpg", "1.jpg"]


@pytest.mark.parametrize("kind", ["--json", "--csv", "--html"])
@pytest.mark.parametrize("place", ["nowhere/out", "."], ids=["no such folder", "a folder"])
def test_an_output_that_cannot_be_written_is_told_before_a_photo_is_read(monkeypatch, tmp_path, capsys, kind, place):
    reader = Empty()
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda options: reader)
    assert main(["0.jpg", kind, str(tmp_path / place)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"{tmp_path / place} cannot be written: ")
    assert message.count("\n") == 1
    assert reader.alive == []


@pytest.mark.slow
def test_it_runs_as_a_module_and_prints_csv():
    run = subprocess.run(
        [sys.executable, "-m", "infant_fer", str(EXAMPLES / "cry.jpg")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("file,face,label,positive,neutral,negative")
    assert len(run.stdout.splitlines()) == 2
    assert "Traceback" not in run.stderr
