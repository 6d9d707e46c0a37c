"""The tab "Test the map": what a tap covers, what is said about it, and every experiment in a real browser."""

import json

import gradio as gr
import numpy as np
import pytest

from infant_fer.analyzer import ExplanationSettings
from infant_fer.checkpoints.registry import CheckpointRegistry, available_checkpoints
from infant_fer.drawing import MAP_VIEWS
from infant_fer.drawing import _map_values as map_values
from infant_fer.evaluation.map_report import RECORD
from infant_fer.explain import METHODS
from infant_fer.explain.covering import FACE_PARTS
from infant_fer.images import load_photo
from infant_fer.regions import PARTS
from infant_fer.ui.map_tests import view
from infant_fer.ui.map_tests.experiments import (
    COVERS_PART,
    COVERS_SPOT,
    GUESSES,
    SHOWN_PX,
    SPOT_SHARE,
    Cover,
    GuessOverlap,
    cover_of,
    covered_answer,
    part_at,
    parts_of,
    settings_of,
    spots_mask,
)
from infant_fer.ui.page import build_page
from infant_fer.ui.photo.view import read_photo
from infant_fer.ui.sessions import Session, SessionStore
from tests.conftest import EXAMPLES
from tests.ui.browser import DESKTOP, IN_BROWSER, PHONE, open_tab, picture, upload, wait_for_map

SMILE = EXAMPLES / "smile.jpg"


@pytest.fixture(scope="module")
def registry() -> CheckpointRegistry:
    return CheckpointRegistry(available_checkpoints([]))


@pytest.fixture
def session(registry) -> Session:
    session = Session()
    read_photo(registry, session, load_photo(SMILE), registry.default)
    return session


def middle_of(face, part: str) -> tuple[float, float]:
    """Return the middle of the lower or only piece of a part, in shares of the crop's side."""
    parts = parts_of(face)
    rows, columns = np.nonzero(parts == PARTS.index(part))
    place = np.argmin(np.hypot(rows - rows.mean(), columns - columns.mean()))
    return (columns[place] + 0.5) / len(parts), (rows[place] + 0.5) / len(parts)


def test_covering_the_mouth_lowers_the_answer_and_covering_again_uncovers(registry, session):
    face = session.report.face(1)
    x, y = middle_of(face, "mouth")
    assert part_at(face, x, y) == "mouth"
    place = x * SHOWN_PX, y * SHOWN_PX
    shown, words, parts = view.tapped(registry, session, registry.default, place, COVERS_PART, "blur")
    assert shown.shape == (SHOWN_PX, SHOWN_PX, 3)
    assert parts == ["mouth"]
    assert "Covering the mouth: positive 99 → " in words
    answer = covered_answer(registry.analyzer(registry.default), face, cover_of(session))
    assert answer.before["positive"] - answer.after["positive"] > 0.5
    assert sum(answer.after.values()) == pytest.approx(1)
    *_, parts = view.tapped(registry, session, registry.default, place, COVERS_PART, "blur")
    assert parts == []
    assert "Nothing is covered." in view.covered(registry, session, registry.default, Cover())[1]


def test_a_new_photo_or_face_forgets_the_cover(registry, session):
    session.cover = Cover(("mouth",))
    session.choose_face(1)
    assert cover_of(session) == Cover()
    session.cover = Cover(("mouth",))
    read_photo(registry, session, load_photo(EXAMPLES / "cry.jpg"), registry.default)
    assert cover_of(session) == Cover()


def test_a_tap_covers_as_the_page_says_also_on_a_new_face(registry, session):
    session.cover = Cover(fill="skin")
    session.choose_face(1)
    view.tapped(registry, session, registry.default, (SHOWN_PX / 2, SHOWN_PX / 2), COVERS_SPOT, "skin")
    assert cover_of(session) == Cover(spots=((0.5, 0.5),), fill="skin")


def test_the_page_sends_how_to_cover_with_every_event_that_covers():
    page = build_page(CheckpointRegistry(available_checkpoints([])), SessionStore(), [])
    [fill] = [each for each in page.blocks.values() if getattr(each, "elem_id", None) == "cover-fill"]
    [shown] = [each for each in page.blocks.values() if getattr(each, "elem_id", None) == "cover-face"]
    covering = [each for each in page.fns.values() if shown in each.outputs]
    assert len(covering) == 4  # the tab, a tap, a chosen part or fill, and "Uncover everything"
    assert all(fill in each.inputs for each in covering)


def test_taps_by_hand():
    cover = Cover().tapped(0.5, 0.5, COVERS_SPOT, "nose").tapped(0.2, 0.2, GUESSES, "outside")
    assert (cover.parts, cover.spots, cover.guess) == ((), ((0.5, 0.5),), ((0.2, 0.2),))
    assert cover.tapped(0.1, 0.1, COVERS_PART, "outside") == cover
    assert Cover(("eyes", "mouth"), ((0, 0), (1, 1))).words == "the eyes, the mouth and 2 spots"
    assert Cover((), ((0, 0),)).words == "1 spot"
    mask = spots_mask(((0.5, 0.25),), 96)
    rows, columns = np.nonzero(mask)
    assert (rows.mean(), columns.mean()) == (pytest.approx(24, abs=1), pytest.approx(48, abs=1))
    assert mask.sum() == pytest.approx(np.pi * (SPOT_SHARE * 96) ** 2, rel=0.15)


def test_the_overlap_of_a_guess_by_hand():
    guess = ((0.5, 0.5),)
    values = np.zeros((96, 96))
    values[spots_mask(guess, 96)] = 1
    same = GuessOverlap.of(guess, values)
    assert same.overlap == 1
    assert same.chance == pytest.approx(spots_mask(guess, 96).mean())
    assert GuessOverlap.of(((0.1, 0.1),), values).overlap == 0
    assert GuessOverlap.of((), values) is None
    assert "agree on 100% of the area" in same.sentence


def test_settings_name_classes_only():
    settings = settings_of("gradcam", "the predicted one", "all others")
    assert (settings.method, settings.target, settings.versus) == ("gradcam", None, None)
    assert settings_of("gradcam", "negative", "neutral").versus == "neutral"


@pytest.mark.slow
def test_a_program_cannot_ask_for_any_number_of_maps(registry, session):
    settings = settings_of("gradcam", "", "")
    compared = view.compared_html(registry, session, [registry.default], ["gradcam"] * 999, [""] * 999, settings)
    assert len(list(compared)) == 2  # the map, and that it was the last
    many = view.compared_html(registry, session, [registry.default], list(METHODS), list("abcdefg"), settings)
    with pytest.raises(gr.Error, match="At most 24 maps"):
        next(many)


@pytest.mark.slow
def test_every_experiment_says_what_was_found(registry, session):
    settings, name = settings_of("gradcam", "", ""), registry.default
    session.cover = Cover(guess=((0.5, 0.75),))
    assert "You and the map agree on" in view.overlap_html(registry, session, name, settings)
    measured = view.measured_html(registry, session, name, settings)
    assert "Hiding the marked tenth of the picture changes &#39;positive&#39;" in measured
    assert "rank correlation of" in measured
    assert all(word in measured for word in ("the mouth", "AU12", "data:image/png"))
    assert "With 100% of the layers random" in view.randomized_html(registry, session, name, settings, 1.0)
    steady = view.steady_html(registry, session, name, settings)
    assert "draws no random numbers" in steady
    *steps, last = view.compared_html(
        registry, session, [name], ["gradcam", "rollout"], ["the predicted one"], settings
    )
    assert len(steps) == 2
    assert "Do the maps agree?" in last
    assert "<progress" in steps[0]
    assert "<progress" not in last


def test_a_map_of_the_photo_tab_is_repeated_with_its_own_options(registry, session, monkeypatch):
    """Other samples or noise would change the map, and its own seed could not."""
    drawn = ExplanationSettings(samples=4, noise=0.3, seed=1)
    session.report = registry.analyzer(registry.default).explain(session.report, 1, drawn)
    compared = []

    def recorded(method, score, pixels, real, *further, seeds=(None,)):
        compared.append((method.samples, method.noise, method.seed, seeds[0]))
        return kept[len(compared) - 1](
            method, score, pixels, real, *further, **({} if seeds[0] is None else {"seeds": seeds})
        )

    kept = [view.steadiness, view.randomization]
    monkeypatch.setattr(view, "steadiness", recorded)
    monkeypatch.setattr(view, "randomization", recorded)
    settings, name = settings_of("smoothgrad", "", ""), registry.default
    assert "With other random numbers: SSIM 0." in view.steady_html(registry, session, name, settings)
    view.randomized_html(registry, session, name, settings, 0.5)
    assert compared == [(4, 0.3, 1, 2), (4, 0.3, 1, None)]


def test_the_map_is_drawn_as_in_the_photo_tab(registry, session, monkeypatch):
    drawn = []
    monkeypatch.setattr(view, "map_over_crop", lambda crop_rgb, values: drawn.append(values) or crop_rgb)
    session.report = registry.analyzer(registry.default).explain(session.report, 1, ExplanationSettings(samples=2))
    view.overlap_html(registry, session, registry.default, settings_of("smoothgrad", "", ""))
    (face,) = session.report.faces
    np.testing.assert_array_equal(drawn[0], map_values(face, face.explanation, MAP_VIEWS[0]))


def test_without_a_photo_an_experiment_says_what_to_do(registry):
    settings, name = settings_of("gradcam", "", ""), registry.default
    for work in (view.measured_html, view.overlap_html, view.steady_html):
        with pytest.raises(gr.Error, match="Choose a photo with a face first"):
            work(registry, Session(), name, settings)


class TestInBrowser:
    pytestmark = IN_BROWSER

    @pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
    def test_a_tap_on_the_mouth_moves_the_answer_and_experiments_run(self, visit, viewport, analyzer):
        page = visit(viewport)
        open_tab(page, "Test the map")
        page.wait_for_selector("#cover-answer >> text=Choose a photo in the Photo tab first")
        open_tab(page, "Photo")
        upload(page, SMILE)
        wait_for_map(page)
        open_tab(page, "Test the map")
        page.wait_for_selector("#cover-face img")
        plain = picture(page, "cover-face")
        x, y = middle_of(analyzer.analyze(SMILE).faces[0], "mouth")
        box = page.locator("#cover-face img").bounding_box()
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_selector("#cover-answer >> text=Covering the mouth: positive 99 →")
        assert picture(page, "cover-face") != plain
        page.locator("#cover-parts label", has_text="eyes").click()
        page.wait_for_selector("#cover-answer >> text=Covering the eyes and the mouth")
        page.click("#cover-none")
        page.wait_for_selector("#cover-answer >> text=Nothing is covered.")
        page.click("#test-faithful")
        page.wait_for_selector("#test-faithful-result >> text=Hiding the marked tenth")
        open_tab(page, "Photo")
        page.wait_for_selector("#answer >> text=Positive expression")
        open_tab(page, "Test the map")
        page.wait_for_selector("#test-faithful-result >> text=Hiding the marked tenth")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"] + 1
        open_tab(page, "Photo")
        upload(page, EXAMPLES / "cry.jpg")
        page.wait_for_selector("#answer >> text=Negative expression")
        open_tab(page, "Test the map")  # what was found for one face does not stand below another
        page.wait_for_function("() => document.querySelector('#test-faithful-result').textContent.trim() === ''")
        assert page.faults == []
        assert set(FACE_PARTS) == {label.strip() for label in page.locator("#cover-parts label").all_inner_texts()}


@pytest.mark.slow
def test_the_second_experiment_says_what_the_method_reached_on_the_whole_split(
    registry, session, tmp_path, monkeypatch
):
    """Only figures of these weights are shown, and only for a method that was measured."""
    classifier = registry.analyzer(registry.default).classifier
    below = {"value": 0.35, "interval95": [0.31, 0.39], "n": 141, "infants": 128}
    record = {"split": "test", "faithfulness": {"gradcam": {"below_random": below}}}
    (tmp_path / RECORD).write_text(json.dumps({"weights_sha256": classifier.weights_sha256, **record}))
    monkeypatch.setattr(classifier, "folder", tmp_path)
    shown = view.measured_html(registry, session, registry.default, settings_of("gradcam", "", ""))
    assert "On 141 test pictures the deletion area of this checkpoint&#39;s Grad-CAM maps is 35 % below" in shown
    assert view._over_split(registry.analyzer(registry.default), "rise") == ""
    monkeypatch.setattr(classifier, "weights_sha256", "of other weights")
    assert view._over_split(registry.analyzer(registry.default), "gradcam") == ""
