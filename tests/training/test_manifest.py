"""What does the table of the infants say, and what is wrong with it?"""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infant_fer.alignment import CropSpec
from infant_fer.data import face_cache
from infant_fer.data.labeled_images import UNKNOWN
from infant_fer.errors import DatasetError
from infant_fer.training.infant_face.data import read_fer2013, read_infants, read_older

COLUMNS = [
    "file",
    "source",
    "split",
    "group",
    "affect",
    "raters",
    "p_positive",
    "p_neutral",
    "p_negative",
    "p_surprise",
]
COLUMNS += ["emotion_1", "emotion_2", "valence", "arousal", "age", "flags", "source_label"]


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 48), (90, 90, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def data(tmp_path) -> Path:
    rows = [
        [
            "infants/web/a.jpg",
            "web",
            "train",
            "g1",
            "positive",
            "agree",
            1,
            0,
            0,
            0,
            "happy",
            "happy",
            2,
            1,
            "baby",
            "-",
            "",
        ],
        [
            "infants/web/b.jpg",
            "web",
            "dev",
            "g2",
            "mixed",
            "differ",
            0.25,
            0,
            0.5,
            0.25,
            "cry",
            "sad",
            -1,
            1,
            "newborn",
            "c",
            "",
        ],
        [
            "infants/web/c.jpg",
            "web",
            "test",
            "g3",
            "unusable",
            "agree",
            0,
            0,
            0,
            0,
            "unusable",
            "",
            "",
            "",
            "older",
            "d",
            "",
        ],
    ]
    with (tmp_path / "infants.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    contents = {
        "infants.zip": ["infants/web/a.jpg", "infants/web/b.jpg"],
        "older_faces.zip": ["older/5_0_1_x.jpg", "older/40_1_2_y.jpg"],
        "fer2013.zip": ["fer2013/train/happy/1.jpg", "fer2013/private_test/sad/2.jpg"],
    }
    for name, members in contents.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, picture())
    return tmp_path


def test_the_raters_votes_become_targets(data):
    infants = read_infants(data)
    assert infants.truth.tolist() == [0, UNKNOWN, UNKNOWN]
    np.testing.assert_allclose(infants.target, [[1, 0, 0], [1 / 3, 0, 2 / 3], [0, 0, 0]], rtol=1e-6)
    assert infants.heads["usable"].tolist() == [1, 1, 0]
    assert infants.heads["eyes_closed"].tolist() == [0, 1, 0]
    assert infants.heads["mouth_covered"].tolist() == [0, 0, 0]
    assert infants.heads["emotion_index"].tolist() == [0, 3, UNKNOWN]  # a cry is one of sadness
    older = read_older(data)
    assert np.isnan(older.heads["usable"][1]) != np.isnan(
        older.heads["usable"][0]
    )  # 5 years: nothing is said; 40: no infant
    assert read_fer2013(data).split.tolist() == ["test", "train"]


def test_faults_of_the_data_name_the_file(data):
    with pytest.raises(DatasetError, match=r"c\.jpg"):
        read_infants(data).read(2)
    (data / "infants.csv").write_text("file,label\nx.jpg,1\n")
    with pytest.raises(DatasetError, match="lacks columns"):
        read_infants(data)
    with pytest.raises(DatasetError, match=r"older_faces\.zip"):
        read_older(data / "nowhere")
    with zipfile.ZipFile(data / "fer2013.zip", "a") as archive:
        archive.writestr("fer2013/train/bored/3.jpg", picture())
    with pytest.raises(DatasetError, match="bored"):
        read_fer2013(data)


@pytest.mark.slow
def test_faces_are_found_once_and_cached(data, monkeypatch):

    older = read_older(data)
    first = face_cache.align_images(older, CropSpec(), data / "cache")
    assert first.crops.shape == (2, 96, 96, 3)
    assert not first.found.any()  # plain grey pictures
    monkeypatch.setattr(face_cache, "_find", lambda *_: pytest.fail("looked again"))
    assert np.array_equal(face_cache.align_images(older, CropSpec(), data / "cache").crops, first.crops)
