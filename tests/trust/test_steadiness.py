"""Small changes of the picture: what they are, and that the page can say how many keep the answer."""

import numpy as np

from infant_fer.alignment import CropSpec, align_face
from infant_fer.images import load_image
from infant_fer.trust.steadiness import VIEWS, steadiness, views
from tests.conftest import EXAMPLES


def test_views_are_small_changes_and_their_mirror_images(analyzer):
    photo = load_image(EXAMPLES / "smile.jpg")
    face = analyzer.analyze(photo).faces[0].face
    aligned = align_face(photo, face, CropSpec())
    found = views(photo, aligned)
    assert found.shape == (VIEWS, 96, 96, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[VIEWS // 2 :], found[: VIEWS // 2, :, ::-1])
    assert len({view.tobytes() for view in found}) == VIEWS
    crop = aligned.crop_rgb.astype(float)
    for view in found[: VIEWS // 2]:
        assert 0.75 < np.corrcoef(view.ravel(), crop.ravel())[0, 1] < 1 - 1e-6
    right, left = (float((view.astype(float) * np.arange(96)[:, None]).mean()) for view in found[:2])
    centre = float((crop * np.arange(96)[:, None]).mean())
    assert right > centre > left  # the first is moved to the right, the second to the left
    np.testing.assert_array_equal(views(photo, aligned), found)


def test_equal_labels_are_counted():
    assert steadiness(np.array(["positive"] * 31 + ["neutral"]), "positive") == {"same": 31, "n": 32}


def test_a_report_says_how_steady_its_answer_is(analyzer):
    report = analyzer.analyze(EXAMPLES / "laugh.jpg")
    assert report.faces[0].assessment.steadiness is None
    checked = analyzer.check_steadiness(report)
    found = checked.to_dict()["faces"][0]["assessment"]
    assert found["steadiness"]["n"] == VIEWS
    assert found["steadiness"]["same"] > VIEWS / 2
    assert checked.faces[0].prediction is report.faces[0].prediction
    unsure = [reason["text"] for reason in found["reasons"]]
    assert list(checked.faces[0].notes[: len(unsure)]) == unsure


def test_changed_crops_are_read_in_one_batch_by_the_copy_that_explains(analyzer):
    """In bfloat16, where the processor has instructions for it, a transformer reads them in two thirds of the time."""
    batches = []
    copied, _ = analyzer.classifier._model_to_explain()
    handle = copied.register_forward_hook(
        lambda module, inputs, values, output: batches.append(len(values["pixel_values"])), with_kwargs=True
    )
    try:
        analyzer.check_steadiness(analyzer.analyze(EXAMPLES / "smile.jpg"))
    finally:
        handle.remove()
    assert batches == [VIEWS]
