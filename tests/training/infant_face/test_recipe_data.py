"""The research data of the recipe infant_face: labels, crops as in the app, and no copy of a held-out infant."""

import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from infant_fer.alignment import CropSpec, align_face
from infant_fer.data import face_cache
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import UNKNOWN, AlignedDataset
from infant_fer.data.leakage import unlike
from infant_fer.errors import DatasetError
from infant_fer.face_detection import FaceDetector
from infant_fer.images import load_image
from infant_fer.labels import AGE_GROUPS, EMOTIONS
from infant_fer.models.geometry import geometry_features
from infant_fer.training.infant_face.data import read_fer2013, read_infants, read_older
from tests.drawn_data import COLUMNS, EXAMPLES, infant_row, write_table, write_zip


def test_words_of_the_table_become_targets(tmp_path):
    rows = [
        infant_row(emotion_1="cry", age="newborn", flags="mc", affect="negative"),
        infant_row(emotion_1="unusable", affect="unusable", votes=(0, 0, 0, 0), valence="", arousal="", age=""),
        infant_row(file="fer2013/train/happy/b.jpg", flags="d"),
    ]
    images = read_infants(write_table(tmp_path, rows))
    assert images.heads["emotion_index"].tolist() == [EMOTIONS.index("sad"), UNKNOWN, EMOTIONS.index("happy")]
    assert images.heads["age"].tolist() == [AGE_GROUPS.index("newborn"), UNKNOWN, AGE_GROUPS.index("baby")]
    assert images.heads["usable"].tolist() == [1, 0, 0]  # a drawing counts as no usable face
    assert images.heads["eyes_closed"].tolist() == [1, 0, 0]
    assert images.heads["mouth_covered"].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(images.heads["valence_arousal"], [[1.5, 0.5], [np.nan, np.nan], [1.5, 0.5]])
    assert [archive.name for archive in images.archives] == ["infants.zip", "infants.zip", "fer2013.zip"]


def test_splits_are_read_in_the_words_of_every_table(tmp_path):
    rows = [infant_row(split=word) for word in ("Train", "validation", "TEST")]
    assert read_infants(write_table(tmp_path, rows)).split.tolist() == ["train", "dev", "test"]
    with pytest.raises(DatasetError, match="has the split 'later'"):
        read_infants(write_table(tmp_path, [infant_row(split="later")]))


def test_older_faces_are_partly_held_out_and_small_children_undecided(tmp_path):
    write_zip(
        tmp_path / "older_faces.zip", {f"older/{age}_0_0_{n}.jpg": b"" for age in (4, 8, 9, 80) for n in range(500)}
    )
    older = read_older(tmp_path)
    years = np.array([int(Path(name).name.split("_")[0]) for name in older.members])
    assert np.isnan(older.heads["usable"][years <= 8]).all()
    assert (older.heads["usable"][years > 8] == 0).all()
    for split, share in (("train", 2 / 3), ("dev", 1 / 6), ("test", 1 / 6)):
        assert (older.split == split).mean() == pytest.approx(share, abs=0.035)  # three standard errors
    assert (read_older(tmp_path).split == older.split).all()


def test_fer2013_splits_are_train_dev_and_test(tmp_path):
    write_zip(
        tmp_path / "fer2013.zip",
        {f"fer2013/{split}/fear/1.jpg": b"" for split in ("train", "public_test", "private_test")},
    )
    fer = read_fer2013(tmp_path)
    assert dict(zip((name.split("/")[1] for name in fer.members), fer.split, strict=True)) == {
        "train": "train", "public_test": "dev", "private_test": "test",
    }  # fmt: skip
    assert set(fer.heads["emotion_index"]) == {EMOTIONS.index("fear")}


@pytest.fixture(scope="module")
def portraits(tmp_path_factory) -> Path:
    """A data folder with rendered portraits and one picture without a face."""
    folder = tmp_path_factory.mktemp("portraits")
    names = sorted(path.name for path in EXAMPLES.glob("*.jpg"))
    plain = cv2.imencode(".png", np.full((60, 80, 3), (90, 60, 120), np.uint8))[1].tobytes()
    members = {f"infants/web/{name}": (EXAMPLES / name).read_bytes() for name in names}
    members["infants/web/plain.png"] = plain
    write_zip(folder / "infants.zip", members)
    return write_table(folder, [infant_row(file=name) for name in members])


@pytest.fixture(scope="module")
def portrait_table(portraits) -> AlignedDataset:
    return align_images(read_infants(portraits), CropSpec(), portraits / "cache")


@pytest.mark.slow
def test_training_sees_the_crop_that_the_app_sees(portraits, portrait_table):
    images, finder = read_infants(portraits), FaceDetector()
    assert portrait_table.found.tolist() == [True] * (len(images) - 1) + [False]
    for index in range(len(images) - 1):
        photo = load_image(images.read(index))
        face = finder.find(photo)[0]
        assert (portrait_table.crops[index] == align_face(photo, face, CropSpec()).crop_rgb).all()
        np.testing.assert_allclose(portrait_table.geometry[index], geometry_features(face), atol=1e-5)


@pytest.mark.slow
def test_a_picture_without_a_face_is_kept_whole(portrait_table):
    assert not portrait_table.geometry[-1].any()
    assert (portrait_table.crops[-1] == (120, 60, 90)).all()


def test_near_duplicates_are_left_out_and_others_stay():
    random = np.random.default_rng(1)
    held_out = torch.from_numpy(random.integers(0, 256, (5, 12, 12)).repeat(8, 1).repeat(8, 2).astype(np.uint8))
    planted = (held_out[1].float() * 0.8 + 20).clamp(0, 255).to(torch.uint8)  # another light
    mirrored = held_out[3].flip(-1)
    fresh = torch.from_numpy(random.integers(0, 256, (4, 12, 12)).repeat(8, 1).repeat(8, 2).astype(np.uint8))
    crops = torch.cat([planted[None], mirrored[None], fresh])
    assert unlike(crops, held_out).tolist() == [False] * 2 + [True] * 4


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 48), (90, 90, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def data(tmp_path) -> Path:
    unusable = {"emotion_1": "unusable", "emotion_2": "", "valence": "", "arousal": "", "age": "older"}
    rows = [
        infant_row("infants/web/a.jpg", "train", "positive", (1, 0, 0, 0), emotion_2="happy", flags="-"),
        infant_row(
            "infants/web/b.jpg", "dev", "mixed", (0.25, 0, 0.5, 0.25), emotion_1="cry", emotion_2="sad", flags="c"
        ),
        infant_row("infants/web/c.jpg", "test", "unusable", (0, 0, 0, 0), **unusable, flags="d"),
    ]
    contents = {
        "infants.zip": ["infants/web/a.jpg", "infants/web/b.jpg"],
        "older_faces.zip": ["older/5_0_1_x.jpg", "older/40_1_2_y.jpg"],
        "fer2013.zip": ["fer2013/train/happy/1.jpg", "fer2013/private_test/sad/2.jpg"],
    }
    for name, members in contents.items():
        write_zip(tmp_path / name, dict.fromkeys(members, picture()))
    return write_table(tmp_path, rows, [*COLUMNS, "emotion_2"])


def test_the_raters_votes_become_targets(data):
    infants = read_infants(data)
    assert infants.truth.tolist() == [0, UNKNOWN, UNKNOWN]
    np.testing.assert_allclose(infants.target, [[1, 0, 0], [1 / 3, 0, 2 / 3], [0, 0, 0]], rtol=1e-6)
    assert infants.heads["usable"].tolist() == [1, 1, 0]
    assert infants.heads["eyes_closed"].tolist() == [0, 1, 0]
    assert infants.heads["mouth_covered"].tolist() == [0, 0, 0]
    assert infants.heads["emotion_index"].tolist() == [0, 3, UNKNOWN]  # a cry is one of sadness
    older = read_older(data)
    assert dict(zip(older.members, np.isnan(older.heads["usable"]), strict=True)) == {
        "older/40_1_2_y.jpg": False,  # no infant
        "older/5_0_1_x.jpg": True,  # nothing is said
    }
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
    assert not first.found.any()  # plain gray pictures
    monkeypatch.setattr(face_cache, "_find", lambda *_: pytest.fail("looked again"))
    assert np.array_equal(face_cache.align_images(older, CropSpec(), data / "cache").crops, first.crops)
