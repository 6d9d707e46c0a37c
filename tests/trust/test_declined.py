"""What must not get a plain answer from the embedded checkpoint: adults, animals, things, blank and tiny pictures, covered mouths."""

import cv2
import numpy as np
import pytest
import skimage.data

from benchmarks.refusals import ANIMALS_AND_OBJECTS, ENLARGED, SMALL_PX, of_packages, smaller
from infant_fer.images import load_image, load_photo
from tests.conftest import EXAMPLES


def verdicts(analyzer, photo: np.ndarray) -> list[str]:
    return [face.assessment.verdict for face in analyzer.analyze(photo).faces]


@pytest.mark.parametrize("name", ["astronaut", "cat", "coffee", "rocket", "retina", "camera"])
def test_adults_animals_and_things_get_no_plain_answer(analyzer, name):
    photo = getattr(skimage.data, name)()
    photo = np.repeat(photo[..., None], 3, 2) if photo.ndim == 2 else photo[..., :3]
    assert "answer" not in verdicts(analyzer, np.ascontiguousarray(photo[:600, :600]))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_pictures_get_no_plain_answer(analyzer, level):
    assert verdicts(analyzer, np.full((300, 400, 3), level, np.uint8)) == []


@pytest.mark.parametrize("name", ["smile", "cry", "neutral"])
def test_faces_of_twelve_pixels_get_no_plain_answer(analyzer, name):
    photo = load_image(EXAMPLES / f"{name}.jpg")
    face = analyzer.analyze(photo).faces[0].face
    small = cv2.resize(photo, None, fx=12 / face.height_px, fy=12 / face.height_px, interpolation=cv2.INTER_AREA)
    scene = np.full((240, 320, 3), 120, np.uint8)
    scene[100 : 100 + small.shape[0], 150 : 150 + small.shape[1]] = small
    enlarged = [cv2.resize(small, None, fx=16, fy=16, interpolation=how) for how in (cv2.INTER_CUBIC, cv2.INTER_LINEAR)]
    for tiny in (small, scene, *enlarged):
        assert "answer" not in verdicts(analyzer, tiny)


def test_the_measured_pictures_are_as_small_as_they_say(analyzer):
    photo = load_photo(EXAMPLES / "smile.jpg")
    (small,), (large,) = smaller(analyzer, [photo]), smaller(analyzer, [photo], ENLARGED)
    whole = analyzer.analyze(photo).faces[0].face.height_px
    assert small.rgb.shape[0] == pytest.approx(photo.rgb.shape[0] * SMALL_PX / whole, abs=1)
    assert large.rgb.shape[:2] == tuple(side * ENLARGED for side in small.rgb.shape[:2])
    assert len(list(of_packages(ANIMALS_AND_OBJECTS))) == sum(map(len, ANIMALS_AND_OBJECTS.values()))


def test_a_sharp_face_in_little_light_is_not_called_blurred(analyzer):
    face = analyzer.analyze((load_image(EXAMPLES / "smile.jpg") * 0.15).astype(np.uint8)).faces[0]
    assert "blurred" not in {reason.code for reason in face.assessment.reasons}


@pytest.mark.parametrize("name", ["smile", "laugh", "cry", "neutral"])
def test_portraits_are_not_declined(analyzer, name):
    assert "cannot say" not in verdicts(analyzer, load_image(EXAMPLES / f"{name}.jpg"))
