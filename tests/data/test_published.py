"""Data sets in the layouts of their authors."""

import csv

import numpy as np
import pytest

from infant_fer.data.datasets import read_labeled_images
from infant_fer.errors import DatasetError


def annotated(folder, number: int, label: int):
    for name in ("annotations", "images"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "images" / f"{number}.jpg").write_bytes(b"%d" % number)
    np.save(folder / "annotations" / f"{number}_exp.npy", np.array(str(label)))
    np.save(folder / "annotations" / f"{number}_lnd.npy", np.zeros(136))


def test_affectnet_as_published(tmp_path):
    for number, label in enumerate((1, 0, 7, 9)):
        annotated(tmp_path / "train_set", number, label)
    annotated(tmp_path / "val_set", 10, 6)
    images = read_labeled_images(tmp_path)
    assert images.labels == ("neutral", "happy", "angry", "contempt")
    assert [images.labels[each] for each in images.truth] == ["happy", "neutral", "contempt", "angry"]
    assert images.split.tolist() == ["train", "train", "train", "test"]
    assert images.left_out == ("1 pictures without one of the eight classes",)
    assert not images.subjects_known
    some = read_labeled_images(tmp_path, ["happy", "angry"])
    assert some.counts() == {"happy": 1, "angry": 1}


def test_affectnet_without_a_picture_or_with_a_pickled_annotation(tmp_path):
    annotated(tmp_path, 1, 1)
    annotated(tmp_path, 2, 0)
    (tmp_path / "images" / "2.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1 pictures that .* lists are not there: .*2\.jpg"):
        read_labeled_images(tmp_path)
    np.save(tmp_path / "annotations" / "2_exp.npy", np.array({"a": 1}, dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match="holds no number"):
        read_labeled_images(tmp_path)


@pytest.mark.parametrize("content", [None, "nan", "inf"])
def test_an_annotation_that_is_empty_or_no_number_is_named(content, tmp_path):
    annotated(tmp_path, 1, 1)
    file = tmp_path / "annotations" / "1_exp.npy"
    file.write_bytes(b"") if content is None else np.save(file, np.array(content))
    with pytest.raises(DatasetError, match=r"1_exp\.npy holds no number"):
        read_labeled_images(tmp_path)


def raf_db(folder, lines: str, names: tuple[str, ...]):
    (folder / "EmoLabel").mkdir()
    (folder / "EmoLabel" / "list_patition_label.txt").write_text(lines)
    (folder / "Image" / "aligned").mkdir(parents=True)
    for name in names:
        (folder / "Image" / "aligned" / name).write_bytes(name.encode())


def test_raf_db_as_published(tmp_path):
    names = ("train_00001_aligned.jpg", "train_00002_aligned.jpg", "test_0001_aligned.jpg")
    raf_db(tmp_path, "train_00001.jpg 4\ntrain_00002.jpg 7\ntest_0001.jpg 1\n", names)
    images = read_labeled_images(tmp_path)
    assert [images.labels[each] for each in images.truth] == ["happy", "neutral", "surprise"]
    assert images.split.tolist() == ["train", "train", "test"]
    assert [member.rsplit("/", 1)[1] for member in images.members] == list(names)


def test_a_line_of_raf_db_that_is_wrong_is_named(tmp_path):
    raf_db(tmp_path, "train_00001.jpg 4\ntrain_00002.jpg 8\n", ())
    with pytest.raises(DatasetError, match="Line 2 of"):
        read_labeled_images(tmp_path)


def fer_plus(folder, rows, beside="."):
    columns = [
        "Usage",
        "Image name",
        "neutral",
        "happiness",
        "surprise",
        "sadness",
        "anger",
        "disgust",
        "fear",
        "contempt",
    ]
    with (folder / "fer2013new.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([[*columns, "unknown", "NF"], *rows])
    for place in ("FER2013Train", "FER2013Valid", "FER2013Test"):
        (folder / beside / place).mkdir(parents=True)
    for usage, name, *_ in rows:
        if name:
            place = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}[usage]
            (folder / beside / place / name).write_bytes(name.encode())


@pytest.mark.parametrize("beside", [".", "data"])  # the second as in the authors' repository
def test_the_votes_of_fer_plus(beside, tmp_path):
    rows = [
        ["Training", "fer0.png", 2, 7, 1, 0, 0, 0, 0, 0, 0, 0],
        ["PublicTest", "fer1.png", 0, 0, 0, 6, 2, 0, 2, 0, 0, 0],
        ["PrivateTest", "", 0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
        ["PrivateTest", "fer3.png", 0, 3, 0, 0, 0, 0, 0, 0, 7, 0],
        ["PrivateTest", "fer4.png", 8, 2, 0, 0, 0, 0, 0, 0, 0, 0],
        ["Training", "fer5.png", 3, 4, 0, 3, 0, 0, 0, 0, 0, 0],
    ]
    fer_plus(tmp_path, rows, beside)
    images = read_labeled_images(tmp_path)
    assert set(images.labels) == {"happy", "neutral", "sad"}
    assert [images.labels[each] for each in images.truth] == ["happy", "sad", "neutral", "happy"]
    happy, neutral = images.labels.index("happy"), images.labels.index("neutral")
    assert images.target[0, happy] == pytest.approx(7 / 9)  # the single vote for surprise does not count
    assert images.target[0, neutral] == pytest.approx(2 / 9)
    np.testing.assert_allclose(images.target[3], [0.3, 0.4, 0.3])  # a plurality is enough
    assert images.split.tolist() == ["train", "dev", "test", "train"]
    assert images.left_out == ("2 pictures without two votes for an emotion, or with more for unknown or no face",)


def test_a_table_that_is_not_of_fer_plus_is_refused(tmp_path):
    (tmp_path / "fer2013new.csv").write_text("Usage,Image name,neutral\nTraining,fer0.png,3\n")
    with pytest.raises(DatasetError, match="Line 2"):
        read_labeled_images(tmp_path)


CAFE = {
    "10063_happyopen_F-AA-01.jpg": "happy",
    "10064_happy_F-AA-01.jpg": "happy",
    "9032-disgustwithtongue_M-LA-02.jpg": "disgust",
    "1-F-AA-01-fearfulopen.jpg": "fear",
    "9101_surpriseopen_M-LA-02.jpg": "surprise",
    "9102_sadclosed_M-LA-02.jpg": "sad",
}
TROMSO = {f"TIF_{number:02}_{word}.jpg": word for number in (3, 4) for word in ("happy", "sad", "neutral")}
TROMSO |= {"TIF_03_afraid.jpg": "fear", "TIF_04_disgusted.jpg": "disgust"}


@pytest.mark.parametrize(("names", "infants"), [(CAFE, {"F-AA-01", "M-LA-02"}), (TROMSO, {"TIF_03", "TIF_04"})])
def test_folders_named_as_cafe_and_tromso(names, infants, tmp_path):
    """CAFE's numbers before the label count pictures, and its children have codes; Tromsø's number infants."""
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    images = read_labeled_images(tmp_path)
    found = {
        member.rsplit("/", 1)[1]: images.labels[each] for member, each in zip(images.members, images.truth, strict=True)
    }
    assert found == names
    assert images.left_out == ()
    assert images.subjects_known
    assert images.subjects_guessed
    assert set(images.subject) == infants
