"""What goes into training: tables, the crops that the app sees too, and no held-out infant's twin."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from infant_fer.alignment import CropSpec, align_face
from infant_fer.data import face_cache
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import UNKNOWN, AlignedDataset
from infant_fer.data.leakage import unlike
from infant_fer.face_detection import FaceDetector
from infant_fer.images import load_image
from infant_fer.labels import AGE_GROUPS, EMOTIONS
from infant_fer.models.geometry import geometry_features
from infant_fer.training.infant_face.data import read_fer2013, read_infants, read_older
from tests.made_data import EXAMPLES, infant_row, write_table, write_zip


def test_words_of_the_table_become_targets(tmp_path):
    rows = [
        infant_row(emotion_1="cry", age="newborn", flags="mc", affect="negative"),
        infant_row(emotion_1="unusable", affect="unusable", votes=(0, 0, 0, 0), valence="", arousal="", age=""),
        infant_row(file="fer2013/train/happy/b.jpg", flags="d"),
    ]
    manifest = read_infants(write_table(tmp_path, rows))
    assert manifest.heads["emotion_index"].tolist() == [EMOTIONS.index("sad"), UNKNOWN, EMOTIONS.index("happy")]
    assert manifest.heads["age"].tolist() == [AGE_GROUPS.index("newborn"), UNKNOWN, AGE_GROUPS.index("baby")]
    assert manifest.heads["usable"].tolist() == [1, 0, 0]  # a drawing counts as no usable face
    assert manifest.heads["eyes_closed"].tolist() == [1, 0, 0]
    assert manifest.heads["mouth_covered"].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(manifest.heads["valence_arousal"], [[1.5, 0.5], [np.nan, np.nan], [1.5, 0.5]])
    assert [archive.name for archive in manifest.archives] == ["infants.zip", "infants.zip", "fer2013.zip"]


def test_older_faces_are_held_out_in_part_and_small_children_undecided(tmp_path):
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


def test_fer2013_parts_are_train_dev_and_test(tmp_path):
    write_zip(
        tmp_path / "fer2013.zip",
        {f"fer2013/{part}/fear/1.jpg": b"" for part in ("train", "public_test", "private_test")},
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
    members = {f"infants/web/{name}": (EXAMPLES / name).read_bytes() for name in names} | {
        "infants/web/plain.png": plain
    }
    write_zip(folder / "infants.zip", members)
    return write_table(folder, [infant_row(file=name) for name in members])


@pytest.fixture(scope="module")
def portrait_table(portraits) -> AlignedDataset:
    return align_images(read_infants(portraits), CropSpec(), portraits / "cache")


@pytest.mark.slow
def test_training_sees_the_crop_that_the_app_sees(portraits, portrait_table):
    manifest, finder = read_infants(portraits), FaceDetector()
    assert portrait_table.found.tolist() == [True] * (len(manifest) - 1) + [False]
    for index in range(len(manifest) - 1):
        photo = load_image(manifest.read(index))
        face = finder.find(photo)[0]
        assert (portrait_table.crops[index] == align_face(photo, face, CropSpec()).crop_rgb).all()
        np.testing.assert_allclose(portrait_table.geometry[index], geometry_features(face), atol=1e-5)


def test_a_picture_without_a_face_is_kept_whole(portrait_table):
    assert not portrait_table.geometry[-1].any()
    assert (portrait_table.crops[-1] == (120, 60, 90)).all()


def test_another_picture_is_another_cache(tmp_path):
    manifest = read_infants(write_table(tmp_path, [infant_row()]))
    keys = []
    for data in (b"one", b"two"):
        write_zip(tmp_path / "infants.zip", {"infants/web/a.jpg": data})
        keys.append(face_cache._key(manifest, adults=False))
    keys.append(face_cache._key(manifest, adults=True))
    assert len(set(keys)) == 3


def test_near_duplicates_are_left_out_and_others_stay():
    random = np.random.default_rng(1)
    held_out = torch.from_numpy(random.integers(0, 256, (5, 12, 12)).repeat(8, 1).repeat(8, 2).astype(np.uint8))
    planted = (held_out[1].float() * 0.8 + 20).clamp(0, 255).to(torch.uint8)  # another light
    mirrored = held_out[3].flip(-1)
    fresh = torch.from_numpy(random.integers(0, 256, (4, 12, 12)).repeat(8, 1).repeat(8, 2).astype(np.uint8))
    assert unlike(torch.cat([planted[None], mirrored[None], fresh]), held_out).tolist() == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]
