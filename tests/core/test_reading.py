"""From a photo to a report with the real pipeline: notes, sentences, maps, pictures."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessorPil

from infant_fer.alignment import AlignedFace
from infant_fer.analyzer import Analyzer, ExplanationSettings
from infant_fer.classifier import AffectClassifier, forward_crops
from infant_fer.data.face_cache import align_images
from infant_fer.drawing import close_up, draw_faces, draw_saliency, whole_view
from infant_fer.errors import ImageError
from infant_fer.face import Face
from infant_fer.face_search import SearchBudget
from infant_fer.images import Photo, load_image
from infant_fer.labels import AFFECTS
from infant_fer.models.geometry import GEOMETRY_SIZE
from infant_fer.models.infant_face import InfantFaceModel, luminance_crops
from infant_fer.regions import density_ratio_per_part, part_map, share_per_part
from infant_fer.report import OUTSIDE_WARNING, Explanation
from infant_fer.report_html import answer_html, report_page, shares_html
from infant_fer.training.infant_face.data import as_input
from infant_fer.trust.gate import assess
from infant_fer.trust.rules import NO_FACE_ADVICE, SEARCH_STOPPED
from tests.conftest import EXAMPLES, ROOT
from tests.drawn_data import unlabelled

RELEASE = ROOT / "checkpoints/infant-fer-small"
# What infant-fer-small answered when it was released: probabilities of AFFECTS by the app, and logits for a crop whose place
# and geometry features are constants, so that no landmark is in them.
RELEASED = {
    "smile": ((0.9939, 0.0024, 0.0036), (1.97124, -1.20567, -2.39841)),
    "laugh": ((0.9988, 0.0001, 0.0011), (3.19572, -3.08554, -2.45142)),
    "neutral": ((0.0222, 0.9542, 0.0237), (-1.6523, 2.73017, -2.41773)),
    "cry": ((0.0021, 0.0029, 0.9949), (-3.475, -1.1713, 3.37605)),
    "pout": ((0.0031, 0.0989, 0.898), (-3.53393, 1.35341, 0.9187)),
    "surprise": ((0.1337, 0.7788, 0.0876), (-1.53683, 1.59164, -1.75221)),
}


@pytest.fixture(scope="module")
def explained(analyzer):
    return analyzer.explain(analyzer.analyze(EXAMPLES / "smile.jpg"), settings=ExplanationSettings(samples=10))


@pytest.mark.parametrize("name", RELEASED)
def test_every_portrait_is_read(analyzer, name):
    report = analyzer.analyze(EXAMPLES / f"{name}.jpg")
    assert len(report.faces) == 1
    prediction = report.faces[0].prediction
    assert tuple(prediction.probabilities) == AFFECTS
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)
    json.loads(report.to_json())


def test_the_embedded_checkpoint_gives_the_logits_of_its_release():
    """Between torch's three sets of CPU instructions (AVX-512, AVX2, none) they differ by 2e-6."""
    model = InfantFaceModel.from_pretrained(RELEASE)
    crops = np.stack([load_image(EXAMPLES / f"{name}.jpg")[80:560:5, 80:560:5] for name in RELEASED])
    geometry = np.zeros((len(crops), GEOMETRY_SIZE), np.float32)
    logits = forward_crops(model, ViTImageProcessorPil.from_pretrained(RELEASE), crops, geometry)["logits"]
    np.testing.assert_allclose(logits, [logits for _, logits in RELEASED.values()], rtol=0, atol=1e-4)


def test_the_app_gives_the_probabilities_of_the_release(analyzer):
    """Landmarks depend on the CPU too: moved by 0.05 px at random they move the probabilities by up to 0.001."""
    released = Analyzer(analyzer.face_detector, AffectClassifier.from_pretrained(RELEASE, device="cpu"))
    for name, (probabilities, _) in RELEASED.items():
        (face,) = released.analyze(EXAMPLES / f"{name}.jpg").faces
        assert tuple(face.prediction.probabilities.values()) == pytest.approx(probabilities, abs=2e-3), name


def test_the_same_photo_gives_the_same_answer_to_the_bit(analyzer):
    first, second = (analyzer.analyze(EXAMPLES / "cry.jpg").to_json() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("size_wh", [(1, 9000), (9000, 1), (2, 3), (5, 4000), (4000, 40), (31, 33), (7000, 600)])
def test_extreme_sizes_are_read_without_a_fault(analyzer, size_wh):
    report = analyzer.analyze(np.full((size_wh[1], size_wh[0], 3), 128, np.uint8))
    assert report.faces == ()
    assert report.to_dict()["photo_size_wh"] == list(size_wh)


def test_a_face_in_a_panorama_is_found(analyzer):
    portrait = np.asarray(Image.open(EXAMPLES / "smile.jpg").convert("RGB"))
    wide = np.full((portrait.shape[0], 6 * portrait.shape[1], 3), 128, np.uint8)
    wide[:, 4 * portrait.shape[1] : 5 * portrait.shape[1]] = portrait
    report = analyzer.analyze(wide)
    [face] = report.faces
    assert face.prediction.label == "positive"
    assert 4 / 6 < face.face.box_xyxy[0] / report.photo.rgb.shape[1] < 5 / 6


def test_an_adult_is_read_too(analyzer, astronaut):
    assert len(analyzer.analyze(astronaut).faces) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "photo",
    [
        np.zeros((480, 640, 3), np.uint8),
        np.full((10, 10, 3), 200, np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8),
    ],
    ids=["black", "ten pixels", "one pixel", "noise"],
)
def test_no_face_is_an_ordinary_answer_with_advice(analyzer, photo):
    report = analyzer.analyze(photo)
    assert report.faces == ()
    assert "No face was found" in report.notes[0]
    assert "No face found" in answer_html(report, 1)
    assert draw_faces(whole_view(report)).shape[2] == 3
    with pytest.raises(IndexError, match="no face 1"):
        report.face(1)


def test_a_folder_is_no_photo(analyzer, tmp_path):
    with pytest.raises(ImageError):
        analyzer.analyze(tmp_path)


def test_a_lying_infant_is_read_and_said_to_be_tilted(analyzer):
    face = analyzer.analyze(EXAMPLES / "lying.jpg").faces[0]
    assert abs(face.face.pose.roll) == pytest.approx(90, abs=20)
    assert any("tilted" in note for note in face.notes)


@pytest.mark.parametrize("name", ["cry", "laugh", "neutral", "pout"])
def test_an_infant_upside_down_is_read_as_upright_in_a_photo_and_a_frame(analyzer, name):
    photo = load_image(EXAMPLES / f"{name}.jpg")
    (upright,) = analyzer.analyze(photo).faces
    for thorough in (True, False):
        (face,) = analyzer.analyze(np.ascontiguousarray(photo[::-1, ::-1]), thorough).faces
        assert face.prediction.label == upright.prediction.label
        assert face.prediction.probabilities == pytest.approx(upright.prediction.probabilities, abs=0.05)


def test_two_faces_are_numbered_and_told(analyzer, two_faces_path):
    report = analyzer.analyze(two_faces_path)
    assert [face.number for face in report.faces] == [1, 2]
    assert "2 faces" in report.notes[0]


def beside_an_adult(expression: str, adult: np.ndarray) -> np.ndarray:
    """Return an infant's rendered face, and an adult's, which is larger."""
    infant = Image.open(EXAMPLES / f"{expression}.jpg").convert("RGB").resize((220, 220))
    photo = np.full((560, 860, 3), 128, np.uint8)
    photo[10:550, 290:830] = Image.fromarray(adult[:300, 80:380]).resize((540, 540))
    photo[320:540, 10:230] = infant
    return photo


@pytest.mark.parametrize("expression", ["smile", "cry"])  # the plain photo shows the smile, only enlarged views the cry
def test_the_infant_comes_before_a_larger_adult(analyzer, astronaut, expression):
    first, second = analyzer.analyze(beside_an_adult(expression, astronaut)).faces
    assert (first.number, second.number) == (1, 2)
    assert first.face.box_xyxy[2] < 230 < second.face.box_xyxy[0]
    assert first.face.height_px < second.face.height_px
    assert second.notes[0].startswith("This does not look like an infant's face")


def test_a_report_says_that_its_search_stopped_early(analyzer, astronaut):
    meadow = np.full((60, 60, 3), 90, np.uint8)
    stopped = analyzer.analyze(meadow, budget=SearchBudget(0))
    assert stopped.notes == (NO_FACE_ADVICE, SEARCH_STOPPED)
    assert SEARCH_STOPPED in answer_html(stopped, 1)
    assert analyzer.analyze(meadow, budget=SearchBudget(1000)).notes == (NO_FACE_ADVICE,)
    assert analyzer.analyze(astronaut, budget=SearchBudget(0)).notes == (
        SEARCH_STOPPED,
    )  # no infant: others not sought
    assert analyzer.analyze(EXAMPLES / "smile.jpg", budget=SearchBudget(0)).notes == ()


def test_dark_blurred_and_small_faces_have_notes(analyzer, astronaut):
    import cv2

    portrait = load_image(EXAMPLES / "neutral.jpg")
    assert not any(
        word in note
        for note in analyzer.analyze(portrait).faces[0].notes
        for word in ("blurred", "little light", "small")
    )
    dark = analyzer.analyze((portrait * 0.15).astype(np.uint8)).faces[0]
    assert any("little light" in note for note in dark.notes)
    blurred = analyzer.analyze(cv2.GaussianBlur(portrait, (0, 0), 8)).faces[0]
    assert any("blurred" in note for note in blurred.notes)
    small = analyzer.analyze(cv2.resize(portrait, (110, 110), interpolation=cv2.INTER_AREA)).faces[0]
    assert any("small" in note for note in small.notes)


def test_maps_sharpen_step_by_step_and_can_be_left(analyzer):
    report = analyzer.analyze(EXAMPLES / "laugh.jpg")
    steps = analyzer.explain_steps(report, settings=ExplanationSettings(samples=30))
    first = next(steps).faces[0].explanation
    assert not first.complete
    steps.close()
    last = analyzer.explain(report, settings=ExplanationSettings(samples=30)).faces[0].explanation
    assert last.complete
    assert sum(last.shares.values()) == pytest.approx(1, abs=1e-5)
    assert last.saliency.values.shape == report.faces[0].aligned.crop_rgb.shape[:2]


def test_another_class_can_be_explained(analyzer):
    report = analyzer.analyze(EXAMPLES / "smile.jpg")
    maps = [
        analyzer.explain(report, settings=ExplanationSettings(target=target, samples=10)).faces[0].explanation.saliency
        for target in AFFECTS
    ]
    assert [saliency.target for saliency in maps] == list(AFFECTS)
    assert np.abs(maps[0].values - maps[2].values).max() > 0.05


def test_the_map_is_drawn_where_the_face_is(explained):
    face, photo = explained.faces[0], explained.photo.rgb
    changed = np.abs(draw_saliency(explained, 1).astype(int) - photo).sum(2) > 60
    left, top, right, bottom = (int(value) for value in face.face.box_xyxy)
    rows, columns = np.nonzero(changed)
    margin = 0.35 * (bottom - top)
    assert len(rows) > 100
    assert rows.min() > top - margin
    assert rows.max() < bottom + margin
    assert columns.min() > left - margin
    assert columns.max() < right + margin
    assert (draw_saliency(explained, 1, strength=0) == photo).mean() > 0.98  # but for the crop's outline


def test_views_move_faces_with_the_picture(explained):
    view = close_up(explained)
    before, after = explained.faces[0], view.faces[0]
    assert max(view.photo.rgb.shape) <= 1024
    size = before.aligned.crop_rgb.shape[0]
    for face in (before, after):
        np.testing.assert_allclose(
            face.aligned.to_crop(face.face.anchors_px), before.aligned.to_crop(before.face.anchors_px), atol=0.01
        )
        assert 0 < face.aligned.to_crop(face.face.anchors_px).min() < size
    assert whole_view(explained).photo.rgb.shape == explained.photo.rgb.shape


def test_an_enlarged_spot_stays_below_its_landmark(explained):
    face = explained.faces[0]
    aligned = AlignedFace(face.aligned.crop_rgb, np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    landmarks = np.random.default_rng(0).uniform(20, 28, face.face.landmarks_px.shape).astype(np.float32)
    landmarks[0] = 20, 24
    rgb = np.zeros((60, 60, 3), np.uint8)
    rgb[24, 20] = 255
    small = replace(face, face=Face(landmarks, face.face.blendshapes, face.face.pose), aligned=aligned)
    view = close_up(replace(explained, photo=Photo(rgb, (60, 60), "spot"), faces=(small,)))
    light = view.photo.rgb[..., 0].astype(float)
    rows, columns = np.indices(light.shape)
    middle = np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()
    assert np.ptp(view.faces[0].face.landmarks_px[:, 0]) == pytest.approx(4 * np.ptp(landmarks[:, 0]), rel=1e-4)
    np.testing.assert_allclose(view.faces[0].face.landmarks_px[0], middle, atol=0.1)
    np.testing.assert_allclose(view.faces[0].aligned.to_crop(middle[None])[0], [20, 24], atol=0.05)


def test_the_page_says_what_it_must(explained):
    text = report_page(explained)
    for words in ("not a medical device", "infant-fer-small", "SmoothGrad", "10 of 10 samples", "Settings"):
        assert words in text
    assert "http" not in text.replace("http-equiv", "")
    assert 'name="viewport"' in text
    assert "It looked most at the " in explained.faces[0].sentence
    assert "the baby is" not in text
    assert "weighed little" in shares_html(explained.faces[0])
    without_map = report_page(replace(explained, faces=(replace(explained.faces[0], explanation=None),)))
    assert "What weighed in the answer" in text
    assert "What weighed in the answer" not in without_map


def test_a_map_that_marks_nothing_names_no_part(explained):
    face = explained.faces[0]
    blank = np.zeros_like(face.explanation.saliency.values)
    parts = part_map(face.aligned.to_crop(face.face.landmarks_px), len(blank))
    shares, ratios = share_per_part(blank, parts), density_ratio_per_part(blank, parts)
    assert set(ratios.values()) == {1.0}
    explanation = Explanation(replace(face.explanation.saliency, values=blank), shares, ratios)
    report = explained.with_explanation(1, explanation)
    assert explanation.top_parts() == []
    assert "looked most" not in report.faces[0].sentence
    assert report.faces[0].sentence.endswith("The map marks nothing, so that no part of the face stands out.")
    assert OUTSIDE_WARNING not in shares_html(report.faces[0])
    plain, drawn = (draw_saliency(report, view="face parts", strength=share) for share in (0, 1))
    np.testing.assert_array_equal(drawn, plain)


def test_headline_and_sentence_name_what_the_prediction_set_holds(analyzer, explained):
    prediction = explained.faces[0].prediction
    for shares, headline, sentence in (
        ((0.96, 0.02, 0.02), "Positive expression</h2>", "The expression looks positive."),
        ((0.02, 0.02, 0.96), "Negative expression</h2>", "The expression looks negative."),
        ((0.04, 0.4, 0.56), "<h2>Not clear</h2>", "The expression is not clear: it may look negative or neutral."),
        ((0.48, 0.5, 0.02), "<h2>Not clear</h2>", "The expression is not clear: it may look neutral or positive."),
        ((0.02, 0.3, 0.68), "<h2>Not clear</h2>", "The expression is not clear: it may look negative or neutral."),
    ):
        label = AFFECTS[shares.index(max(shares))]
        read = replace(prediction, label=label, probabilities=dict(zip(AFFECTS, shares, strict=True)))
        assessment = assess(read, (), analyzer.classifier.trust)
        face = replace(explained.faces[0], prediction=read, assessment=assessment)
        answer = answer_html(replace(explained, faces=(face,)), 1)
        assert headline in answer
        assert sentence in answer
        assert answer.count("<h2") == 1


def test_twenty_faces_give_at_most_five(analyzer):
    portrait = np.array(Image.open(EXAMPLES / "neutral.jpg").resize((320, 320)))
    crowd = np.vstack([np.hstack([portrait] * 5)] * 4)
    report = analyzer.analyze(crowd)
    assert 1 <= len(report.faces) <= 5


@pytest.mark.slow
def test_training_and_the_app_see_the_same_crop_and_give_the_same_logits(analyzer, astronaut, tmp_path):
    """The eight portraits, one turned on its side, one adult, and an infant beside an adult, found at once or by the second search."""
    files = sorted(str(file) for file in EXAMPLES.glob("*.jpg"))
    with Image.open(EXAMPLES / "smile.jpg") as smile:
        smile.rotate(90, expand=True).save(tmp_path / "sideways.png")
    Image.fromarray(astronaut).save(tmp_path / "adult.png")
    for expression in ("smile", "cry"):
        Image.fromarray(beside_an_adult(expression, astronaut)).save(tmp_path / f"both-{expression}.png")
    files += [str(tmp_path / f"{name}.png") for name in ("sideways", "adult", "both-smile", "both-cry")]
    assert len(files) == 12
    table = align_images(unlabelled(files), analyzer.classifier.crop, tmp_path / "cache")
    model = analyzer.classifier._model
    luminance, geometry = luminance_crops(table.crops), torch.from_numpy(table.geometry)
    for index, file in enumerate(files):
        face = analyzer.analyze(file).faces[0]
        np.testing.assert_array_equal(table.crops[index], face.aligned.crop_rgb)
        app = analyzer.classifier.output(face.aligned, face.face)
        pixels = as_input(luminance[index][None, None].float() / 255)
        with torch.inference_mode():
            trained = (
                model(pixels, geometry[index][None]).logits + model(pixels.flip(-1), geometry[index][None]).logits
            ) / 2
        torch.testing.assert_close(app["logits"], trained[0], rtol=0, atol=1e-4)
