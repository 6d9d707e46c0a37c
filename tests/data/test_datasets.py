"""Data sets in every layout, and what is wrong with them in one sentence."""

import csv
import os
import shutil
import sys

import cv2
import datasets
import numpy as np
import pytest

from infant_fer.data.datasets import fetched_archive, into_archive, label_in_name, read_labeled_images
from infant_fer.data.labeled_images import folder_files
from infant_fer.errors import DatasetError
from tests.drawn_data import drawn_face, write_zip


def picture(seed: int = 0) -> bytes:
    return cv2.imencode(".png", drawn_face("positive", seed, 32))[1].tobytes()


def put(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))
    return folder


NAMES = {
    "Pos12.jpg": ("positive", ""),
    "NEG_BW_3.png": ("negative", ""),
    "03_happy.png": ("happy", "03"),
    "baby4-Neutral-2.jpg": ("neutral", "baby_4"),
    "T05afraid.jpg": ("fear", "T_05"),
    "2024-03-01_baby3_happy.png": ("happy", "baby_3"),
    "20240301_153012_happy.png": ("happy", ""),
    "IMG_0001_happy.png": ("happy", ""),
    "DSC00012-sad.jpg": ("sad", ""),
    "9032_sadopen_M-LA-02.jpg": ("sad", "M-LA-02"),
    "1-F-AA-11-fearful.jpg": ("fear", "F-AA-11"),
}


@pytest.mark.parametrize("name", NAMES)
def test_file_names_tell_label_and_subject(name):
    assert label_in_name(name) == NAMES[name]


@pytest.mark.parametrize("name", ["IMG_2041.jpg", "happy_or_sad.png"])
def test_a_name_without_one_label_is_refused_by_name(name):
    with pytest.raises(DatasetError, match=name):
        label_in_name(name)


def test_a_folder_of_labelled_names(tmp_path):
    put(tmp_path, "Pos1.jpg", "Pos2.jpg", "Neu1.jpg", "Neg1.jpg", "notes.txt", ".hidden/Pos9.jpg")
    found = read_labeled_images(tmp_path)
    assert found.labels == ("positive", "neutral", "negative")
    assert found.counts() == {"positive": 2, "neutral": 1, "negative": 1}
    assert not found.subjects_known
    assert len(np.unique(found.subject)) == 4
    assert found.read(0) == (tmp_path / "Neg1.jpg").read_bytes()
    np.testing.assert_array_equal(found.target, np.eye(3)[found.truth])


def test_subjects_come_from_a_table_beside_the_pictures(tmp_path):
    put(tmp_path, "Pos1.jpg", "Neg1.jpg")
    (tmp_path / "subjects.csv").write_text("file,subject\nPos1.jpg,ann\nNeg1.jpg,ann\n")
    found = read_labeled_images(tmp_path)
    assert found.subjects_known
    assert not found.subjects_guessed
    assert found.subject.tolist() == ["ann", "ann"]
    (tmp_path / "subjects.csv").write_text("file,subject\nPos1.jpg,\nNeg1.jpg,\n")
    unknown = read_labeled_images(tmp_path)
    assert not unknown.subjects_known
    assert len(set(unknown.subject)) == 2  # blanks are not one infant
    (tmp_path / "subjects.csv").write_text("file,subject\nPos1.jpg,ann\n")
    with pytest.raises(DatasetError, match=r"Neg1\.jpg"):
        read_labeled_images(tmp_path)


def test_subjects_are_matched_by_path_and_never_guessed(tmp_path):
    put(tmp_path, "happy/1.png", "sad/1.png", "sad/2.png")
    table = tmp_path / "subjects.csv"
    table.write_text("file,subject\nhappy/1.png,ann\nsad/1.png,bob\nsad\\2.png,bob\n")
    found = read_labeled_images(tmp_path)
    assert found.subject.tolist() == ["ann", "bob", "bob"]
    table.write_text("file,subject\n1.png,ann\n2.png,bob\n")
    with pytest.raises(DatasetError, match=r"1\.png may mean .*happy/1\.png or .*sad/1\.png"):
        read_labeled_images(tmp_path)
    table.write_text("file,subject\nhappy/1.png,ann\nsad/1.png,bob\nglad/2.png,bob\n")
    with pytest.raises(DatasetError, match=r"no subject for .*sad/2\.png"):
        read_labeled_images(tmp_path)
    table.write_text("file,subject\nhappy/1.png,ann\nhappy/1.png,bob\n")
    with pytest.raises(DatasetError, match=r"two subjects for happy/1\.png: ann and bob"):
        read_labeled_images(tmp_path)


def test_infants_guessed_from_names_count_only_where_they_repeat(tmp_path):
    put(tmp_path / "repeat", *(f"2024-03-{n:02}_baby{n % 2}_{label}.png" for n in (1, 2) for label in ("happy", "sad")))
    known = read_labeled_images(tmp_path / "repeat")
    assert known.subjects_known
    assert known.subjects_guessed
    assert set(known.subject) == {"baby_0", "baby_1"}
    assert "infants guessed from the file names: 2, such as 'baby_1'" in known.notes[0]
    put(tmp_path / "counter", *(f"{n:03}_{label}.png" for n, label in enumerate(("happy", "sad") * 3)))
    unknown = read_labeled_images(tmp_path / "counter")
    assert not unknown.subjects_known
    assert len(set(unknown.subject)) == 6
    assert "may name infants, such as '000'" in unknown.notes[0]
    put(tmp_path / "classes", *(f"{n:03}_{label}.png" for n in range(3) for label in ("happy", "sad", "neutral")))
    counted = read_labeled_images(tmp_path / "classes")
    assert not counted.subjects_known
    assert "may name infants, such as '000', or count each class's pictures" in counted.notes[0]
    put(tmp_path / "classes", "000_happy_again.png")
    assert read_labeled_images(tmp_path / "classes").subjects_known
    put(tmp_path / "camera", *(f"IMG_{n // 2:04}_{label}.png" for n, label in enumerate(("happy", "sad") * 2)))
    camera = read_labeled_images(tmp_path / "camera")
    assert not camera.subjects_known
    assert camera.notes == ()


def test_a_table_finds_pictures_by_path_and_refuses_what_may_mean_two(tmp_path):
    put(tmp_path / "pics", "s1/1.png", "s2/1.png", "s2/2.png")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\ns1/1.png,happy\ns2/1.png,sad\n")
    found = read_labeled_images(table, pictures=[tmp_path / "pics"])
    assert [member.removeprefix(str(tmp_path)) for member in found.members] == ["/pics/s1/1.png", "/pics/s2/1.png"]
    assert found.notes == ()
    table.write_text("file,label\n1.png,happy\n2.png,sad\n")
    with pytest.raises(DatasetError, match=r"1\.png may mean .*s1/1\.png or .*s2/1\.png"):
        read_labeled_images(table, pictures=[tmp_path / "pics"])
    table.write_text("file,label\na/2.png,happy\nb/2.png,sad\n")
    with pytest.raises(DatasetError, match=r"a/2\.png and b/2\.png of .* mean one picture"):
        read_labeled_images(table, pictures=[tmp_path / "pics"])
    table.write_text("file,label\na/2.png,happy\ns1/1.png,sad\n")
    assert "1 pictures are known by the ends" in read_labeled_images(table, pictures=[tmp_path / "pics"]).notes[0]
    table.write_text("file,label\n" + "x" * 300 + ".png,happy\ns1/1.png,sad\n")
    with pytest.raises(DatasetError, match="Name its folder or zip"):
        read_labeled_images(table, pictures=[tmp_path / "pics"])


def test_one_name_in_two_archives_is_refused(tmp_path):
    for site in "AB":
        write_zip(tmp_path / f"site{site}.zip", {"1.png": picture(ord(site)), f"{site}.png": picture()})
    (tmp_path / "labels.csv").write_text("file,label\n1.png,happy\nA.png,sad\n")
    with pytest.raises(DatasetError, match=r"1\.png of .* is in siteA\.zip and in siteB\.zip"):
        read_labeled_images(tmp_path / "labels.csv")


def test_pictures_that_the_decoder_refuses_are_counted_and_locked_folders_named(tmp_path, monkeypatch):
    put(tmp_path, "happy/a.jpg", "sad/b.jfif", "sad/c.tif", "sad/d.bmp", "sad/e.tif", "locked/f.jpg")
    scan = os.scandir

    def guarded(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = read_labeled_images(tmp_path)
    assert [name.rsplit("/", 1)[1] for name in found.members] == ["a.jpg", "b.jfif"]
    skipped = "; ".join(found.left_out)
    assert "2 .tif pictures" in skipped
    assert "1 .bmp pictures" in skipped
    assert f"the folder {tmp_path}/locked" in skipped
    with pytest.raises(DatasetError, match=r"holds no picture \(left out: 1 \.gif pictures"):
        read_labeled_images(put(tmp_path / "gifs", "happy/a.gif"))


def test_a_class_folder_may_be_a_link(tmp_path):
    put(tmp_path, "set/happy/1.png", "set/sad/1.png", "elsewhere/angry/1.png", "elsewhere/angry/2.png")
    (tmp_path / "set" / "angry").symlink_to(tmp_path / "elsewhere" / "angry")
    (tmp_path / "set" / "fear").symlink_to(tmp_path / "gone")
    found = read_labeled_images(tmp_path / "set")
    assert found.counts() == {"happy": 1, "sad": 1, "angry": 2}
    assert found.left_out == (f"the folder {tmp_path}/set/fear, which cannot be opened",)


def test_links_in_a_circle_are_read_once(tmp_path):
    put(tmp_path, "set/happy/1.png", "set/sad/1.png", "other/2.png")
    for link, target in (("set/happy/up", "set"), ("set/sad/other", "other"), ("other/back", "set"), ("set/all", ".")):
        (tmp_path / link).symlink_to(tmp_path / target)
    found, locked = folder_files(tmp_path / "set")
    assert [str(each.relative_to(tmp_path)) for each in found] == [
        "set/happy/1.png",
        "set/sad/1.png",
        "set/sad/other/2.png",
    ]
    assert locked == []


def test_names_that_are_not_utf8_are_read_and_can_be_printed(tmp_path):
    odd = os.fsdecode(b"baby\xff1_happy.png")
    put(tmp_path, odd, "baby2_sad.png")
    found = read_labeled_images(tmp_path)
    index = next(n for n, name in enumerate(found.members) if name.endswith(odd))
    assert found.read(index)
    assert found.where(index).encode().endswith(b"baby\\xff1_happy.png")
    (tmp_path / os.fsdecode(b"\xfe.png")).write_bytes(b"")
    with pytest.raises(DatasetError) as caught:
        read_labeled_images(tmp_path)
    assert b"no label" in str(caught.value).encode()


def test_one_folder_per_label_in_a_folder_and_in_a_zip(tmp_path):
    names = ["faces/happy/a.jpg", "faces/sad/b.jpg", "faces/sad/c.jpg"]
    folder = put(tmp_path / "set", *names)
    archive = write_zip(tmp_path / "set.zip", dict.fromkeys(names, picture()))
    for source in (folder, archive):
        found = read_labeled_images(source)
        assert found.labels == ("happy", "sad")
        assert found.truth.tolist() == [0, 1, 1]
        assert (found.split == "").all()


def test_fer2013_has_parts_of_its_own(tmp_path):
    splits = ("train", "public_test", "private_test")
    names = [f"fer2013/{split}/{label}/1.jpg" for split in splits for label in ("angry", "happy")]
    found = read_labeled_images(write_zip(tmp_path / "fer2013.zip", dict.fromkeys(names, picture())))
    assert sorted(found.split) == ["dev", "dev", "test", "test", "train", "train"]
    assert found.read(0) == picture()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["happy/a.jpg", "sad/deep/b.jpg"], "b.jpg"),
        (["happy/a.jpg", "sleepy/b.jpg"], "sleepy"),
        (["readme.txt"], "holds no picture"),
        (["Pos1.jpg", "Pos2.jpg"], "at least two classes"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, names, words):
    with pytest.raises(DatasetError, match=words):
        read_labeled_images(put(tmp_path / "set", *names))


def test_no_data_at_all(tmp_path):
    with pytest.raises(DatasetError, match="There is no data"):
        read_labeled_images(tmp_path / "nothing")


def test_a_class_that_is_asked_for_and_absent(tmp_path):
    with pytest.raises(DatasetError, match="label fear"):
        read_labeled_images(put(tmp_path, "Pos1.jpg", "Neg1.jpg"), classes=["positive", "fear"])


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The package datasets as it is, without a network: OWNER/NAME in the working folder stands for the Hub's."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


def rows_of_the_hub() -> datasets.DatasetDict:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["happy", "sad"])})
    rows = {"image": [{"bytes": picture(n), "path": None} for n in range(5)], "label": [0, 1, 1, -1, None]}
    return datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features)})


def test_a_data_set_of_the_hub_becomes_an_archive(tmp_path):
    loaded = rows_of_the_hub()
    found = read_labeled_images(into_archive(loaded, "owner/name", tmp_path / "hub.zip"))
    assert found.labels == ("happy", "sad")
    assert found.truth.tolist() == [0, 1, 1]
    assert found.read(2) == picture(2)  # the last two have no label
    unlabelled = datasets.DatasetDict({"train": loaded["train"].remove_columns("label")})
    with pytest.raises(DatasetError, match="class-label"):
        into_archive(unlabelled, "owner/name", tmp_path / "other.zip")
    assert not list(tmp_path.glob("other*"))


@pytest.mark.parametrize("layout", ["parquet", "folders"])
def test_a_data_set_is_loaded_by_its_name_and_once(layout, tmp_path, offline):
    place = tmp_path / "owner" / "name"
    if layout == "parquet":
        place.mkdir(parents=True)
        rows_of_the_hub()["train"].to_parquet(place / "train.parquet")
    else:
        put(place / "train", "happy/0.png", "sad/1.png", "sad/2.png")
    archive = fetched_archive("owner/name", tmp_path / "cache")
    assert archive.name == "hub-owner--name.zip"  # of owner-name/x and owner/name-x each its own
    found = read_labeled_images(archive)
    assert found.labels == ("happy", "sad")
    assert found.truth.tolist() == [0, 1, 1]
    assert set(found.split) == {"train"}
    assert cv2.imdecode(np.frombuffer(found.read(0), np.uint8), cv2.IMREAD_COLOR).shape == (32, 32, 3)
    shutil.rmtree(place.parent)
    assert read_labeled_images("owner/name", cache=tmp_path / "cache").truth.tolist() == [0, 1, 1]


def test_a_data_set_that_cannot_be_loaded_is_said_in_one_sentence(tmp_path, offline):
    with pytest.raises(
        DatasetError, match="There is no folder owner/other, and the Hub's data set of that name could not"
    ) as caught:
        read_labeled_images("owner/other", cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("cache/*.zip"))


def test_a_wrong_name_in_a_folder_that_exists_is_not_looked_up(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # its import fails
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "data" / "infants", "happy/0.png", "sad/1.png")
    for name in ("data/infnats", "./infnats"):
        with pytest.raises(DatasetError, match=f"There is no data at {name}"):
            read_labeled_images(name, cache=tmp_path / "cache")


def test_the_published_labels_fit_the_reader(tmp_path):
    from pathlib import Path

    table = Path(__file__).resolve().parents[2] / "data" / "infant_labels.csv"
    with table.open(newline="") as stream:
        files = [row["file"] for row in csv.DictReader(stream)]
    assert not any("web/" in file for file in files)
    archive = write_zip(tmp_path / "pictures.zip", dict.fromkeys((file.split("/")[-1] for file in files), b""))
    found = read_labeled_images(table, pictures=[archive])
    assert found.labels == ("positive", "neutral", "negative")
    assert set(found.split) == {"train", "dev", "test"}
    assert found.subjects_known
