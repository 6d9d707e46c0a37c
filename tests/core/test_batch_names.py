"""Which names do photos have in what is written? None of a folder of this computer, none twice, and no formula."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from infant_fer.__main__ import main
from infant_fer.batch import writers
from tests.core.test_batch import Empty


def written_names(folder: Path, *words: str) -> list[str]:
    """Read, and return the files' names, which CSV and JSON have alike; no output names a folder above `folder`."""
    outputs = {kind: folder / f"out.{kind}" for kind in ("json", "csv", "html")}
    main([*words, *(word for kind, path in outputs.items() for word in (f"--{kind}", str(path)))])
    texts = {kind: path.read_text("utf-8") for kind, path in outputs.items()}
    assert [kind for kind, text in texts.items() if str(folder) in text or folder.name in text] == []
    names = [entry["file"] for entry in json.loads(texts["json"])]
    assert [row["file"] for row in csv.DictReader(io.StringIO(texts["csv"]))] == names
    return names


def photos_in(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_outputs_name_no_folder_of_this_computer(monkeypatch, tmp_path):
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: Empty())
    photos_in(tmp_path, "study/baby/1.jpg")
    alone = str(tmp_path / "study" / "baby" / "1.jpg")
    assert written_names(tmp_path, str(tmp_path / "study"), alone, alone) == ["baby/1.jpg", "1.jpg", "1.jpg"]
    page = (tmp_path / "out.html").read_text()
    assert re.findall("<h2>(.*1.jpg.*)</h2>", page) == ["baby/1.jpg", "1.jpg", "1.jpg (2)"]


def test_faults_name_no_folder_of_this_computer(analyzer, monkeypatch, tmp_path):
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: analyzer)
    photos_in(tmp_path, "study/1.jpg")
    assert written_names(tmp_path, str(tmp_path / "study"), f"{tmp_path}/2.jpg", f"{tmp_path}/gone/") == [
        "1.jpg", "2.jpg", "gone",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["a", "b"], ["a/1.jpg", "2.jpg", "b/1.jpg", "x/1.jpg"]),
        (["a/1.jpg", "b/1.jpg", "b/2.jpg"], ["a/1.jpg", "b/1.jpg", "2.jpg"]),
        (["b/1.jpg", "b/x/1.jpg", "a/../b/x/1.jpg"], ["b/1.jpg", "x/1.jpg", "x/1.jpg"]),
        (["a/1.jpg", "a/1.jpg"], ["1.jpg", "1.jpg"]),
    ],
)
def test_files_of_one_name_stay_apart(monkeypatch, tmp_path, sources, names):
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: Empty())
    photos_in(tmp_path, "a/1.jpg", "b/1.jpg", "b/2.jpg", "b/x/1.jpg")
    assert sorted(written_names(tmp_path, *(str(tmp_path / source) for source in sources))) == sorted(names)


def test_a_resumed_run_with_further_files_names_all_anew(monkeypatch, tmp_path):
    reader = Empty()
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: reader)
    photos_in(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg")
    monkeypatch.setattr("infant_fer.workers.journal.Journal.delete", lambda _: None)  # as after an interruption
    assert written_names(tmp_path, str(tmp_path / "a"), "--resume") == ["1.jpg", "2.jpg"]
    both = [str(tmp_path / "a"), str(tmp_path / "b"), "--resume"]
    assert written_names(tmp_path, *both) == ["a/1.jpg", "2.jpg", "b/1.jpg"]
    assert len(reader.alive) == 4  # 2.jpg, which has the same name as before, once


@pytest.mark.slow
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_of_the_csv_is_a_formula_and_numbers_stay(start):
    row = dict.fromkeys(writers.COLUMNS, f"{start}0.5")
    safe = dict(zip(writers.COLUMNS, writers._no_formulas(list(row.values())), strict=True))
    quoted = {name for name, cell in safe.items() if cell == f"'{start}0.5"}
    assert quoted == {"file", "label", "notes", "checkpoint"}
    assert safe["valence"] == row["valence"]


def test_a_file_named_like_a_formula_is_text_in_the_csv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("=1+1.jpg").write_bytes(b"no photo")
    main(["=1+1.jpg", "--csv", "out.csv"])
    assert next(csv.DictReader(Path("out.csv").read_text("utf-8").splitlines()))["file"] == "'=1+1.jpg"
