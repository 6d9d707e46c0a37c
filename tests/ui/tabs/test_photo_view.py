"""What a visitor sees of photos and maps, and in which order; without a browser."""

import re
from dataclasses import replace
from types import SimpleNamespace

import cv2
import gradio as gr
import numpy as np
import pytest
from markupsafe import escape

from infant_fer.analyzer import ExplanationSettings
from infant_fer.checkpoints.registry import CheckpointRegistry, available_checkpoints
from infant_fer.drawing import UNNAMED_COLOUR, _rgb, close_up, draw_faces
from infant_fer.errors import CheckpointError, ExplanationError, ImageError
from infant_fer.images import UNREADABLE, Photo, load_photo
from infant_fer.labels import AFFECT_COLOURS, AFFECTS
from infant_fer.locales import translator
from infant_fer.ui import live_tab
from infant_fer.ui.downloads import NO_MAP_YET, download
from infant_fer.ui.live_tab import read_frame
from infant_fer.ui.page import build_page
from infant_fer.ui.photo.tab import PhotoEvents
from infant_fer.ui.photo.view import CLEAR_JS, FAILED_JS, clicked_face, explained, read_photo, shown
from infant_fer.ui.sessions import LiveReading, Session, SessionStore
from infant_fer.ui.several.readings import reading_of
from infant_fer.ui.style import CSS
from tests.conftest import EXAMPLES

FEW = ExplanationSettings(samples=10)


def photo(name: str):
    return load_photo(EXAMPLES / f"{name}.jpg")


def has_colour(picture: np.ndarray, colour: str) -> bool:
    return bool((picture == _rgb(colour)).all(-1).any())


def test_an_older_photo_that_comes_late_is_not_shown(registry, analyzer):
    session = Session()

    class Slow:
        """While it reads its photo, the visitor has chosen another one and got the answer."""

        def analyze(self, older, budget=None):
            read_photo(registry, session, photo("cry"), "any")
            return analyzer.analyze(older)

    slow = SimpleNamespace(analyzer=lambda checkpoint, on_progress=None: Slow())
    values = read_photo(slow, session, photo("smile"), "any")
    assert values == [gr.skip()] * 8
    assert session.report.faces[0].prediction.label == "negative"


def test_a_checkpoint_chosen_before_a_photo_is_loaded(analyzer):
    loaded, sessions = [], SessionStore()
    registry = SimpleNamespace(analyzer=lambda name, on_progress=None: loaded.append(name) or analyzer)
    events, visitor = PhotoEvents(registry, sessions), gr.Request(session_hash="visitor")
    assert events.checkpoint("another", "first", visitor)[:8] == [gr.skip()] * 8
    assert loaded == ["another"]
    session = sessions.create("visitor")
    session.begin_photo(photo("smile"))  # chosen, but not read yet
    values = events.checkpoint("another", "first", visitor)
    assert values[0].ndim == 3
    assert session.report.faces[0].prediction.label == "positive"


def test_a_map_is_drawn_once_and_again_only_for_something_else(registry):
    session = Session()
    read_photo(registry, session, photo("smile"), "any")

    def steps(settings) -> int:
        return sum(isinstance(values[1], str) for values in explained(registry, session, "any", settings))

    assert steps(FEW) > 0
    assert steps(FEW) == 0
    assert steps(ExplanationSettings(samples=10, seed=5)) > 0
    session.stop_map()  # then it may be wanted whole
    assert steps(ExplanationSettings(samples=10, seed=5)) > 0


def test_a_map_under_way_can_be_stopped(registry):
    session = Session()
    read_photo(registry, session, photo("smile"), "any")
    drawing = explained(registry, session, "any", ExplanationSettings(samples=200))
    next(drawing)
    session.stop_map()
    ((*pictures, button),) = drawing  # nothing is drawn any more, and the button goes
    assert (pictures, button) == ([gr.skip()] * 3, gr.update(visible=False))
    assert not session.report.face(1).explanation.complete


@pytest.mark.parametrize(
    ("newer", "words"),
    [
        (ImageError(UNREADABLE), UNREADABLE),
        (Photo(np.zeros((240, 320, 3), np.uint8), (320, 240)), "No face found"),
    ],
    ids=["unreadable", "without a face"],
)
def test_what_an_older_map_says_last_does_not_stay_where_no_face_is_explained(registry, newer, words):
    session = Session()
    read_photo(registry, session, photo("smile"), "any")
    drawing = explained(registry, session, "any", ExplanationSettings(samples=200))
    late = next(drawing)
    values = read_photo(registry, session, newer, "any")
    page = values[2:5]
    follows = explained(registry, session, "any", ExplanationSettings(samples=200))
    for step in (late, *drawing, *follows):  # in the order in which they reach the browser
        page = [old if isinstance(new, dict) else new for old, new in zip(page, step[:3], strict=True)]  # a dict skips
    assert page == [None, values[3], ""]
    assert words in page[1]
    assert "Positive" not in page[1]


def test_a_step_of_an_older_map_does_not_say_what_is_wrong_with_a_newer_photo(registry, monkeypatch):
    session = Session()
    read_photo(registry, session, photo("smile"), "any")
    update = session.update_map

    def update_while_a_photo_fails(*values) -> bool:
        newest = update(*values)
        read_photo(registry, session, ImageError(UNREADABLE), "any")
        return newest

    monkeypatch.setattr(session, "update_map", update_while_a_photo_fails)
    _, words, *_ = next(explained(registry, session, "any", FEW))
    assert "Positive" in words
    assert UNREADABLE not in words


def test_an_explanation_follows_every_reading_even_of_what_cannot_be_read():
    page = build_page(CheckpointRegistry(available_checkpoints([])), SessionStore(), [])
    [reading] = [each for each in page.fns.values() if getattr(each.fn, "__name__", "") == "upload"]
    following = [each.fn.__name__ for each in page.fns.values() if each.trigger_after == reading._id and each.fn]
    assert "explain" in following


def test_what_clears_the_page_ends_every_map():
    """A step on its way would bring the older answer back. Gradio ends nothing at the failure of another event."""
    page = build_page(CheckpointRegistry(available_checkpoints([])), SessionStore(), [])
    maps = {
        number for number, each in page.fns.items() if getattr(each.fn, "__qualname__", "") == "PhotoEvents.explain"
    }
    ended = {tuple(each.targets): set(each.cancels) for each in page.fns.values() if each.cancels}
    clearing = [each for each in page.fns.values() if each.js in (FAILED_JS, CLEAR_JS)]
    assert [event for each in clearing for _, event in each.targets] == ["click", "clear"]
    assert all(ended[tuple(each.targets)] == maps for each in clearing)


def test_a_map_is_saved_only_once_there_is_one(registry):
    session = Session()
    read_photo(registry, session, photo("smile"), "any")
    assert download(session, "landmarks")["name"].endswith("-landmarks.png")
    with pytest.raises(gr.Error, match="no map of this face yet"):
        download(session, "map")
    list(explained(registry, session, "any", FEW))
    assert download(session, "map")["type"] == "image/png"


def test_a_method_that_does_not_apply_leaves_no_map_of_another_one(registry):
    class Inapplicable:
        def explain_with_steadiness(self, report, face, settings):
            raise ExplanationError("This method does not apply to this checkpoint.")

    inapplicable = SimpleNamespace(analyzer=lambda checkpoint: Inapplicable())
    session = Session()
    read_photo(registry, session, photo("smile"), "any")
    list(explained(registry, session, "any", FEW))
    with pytest.raises(ExplanationError):
        list(explained(inapplicable, session, "any", ExplanationSettings("rollout")))
    with pytest.raises(gr.Error, match=NO_MAP_YET):
        download(session, "map")
    list(explained(registry, session, "any", FEW))  # drawn anew
    assert session.report.face(1).explanation.saliency.method == "smoothgrad"


def test_a_click_chooses_the_face_it_falls_upon(registry):
    session = Session()
    read_photo(registry, session, photo("two_faces"), "any")
    for face in shown(session).faces:
        left, top, right, bottom = face.face.box_xyxy
        assert clicked_face(session, ((left + right) / 2, (top + bottom) / 2)) == face.number
    assert len(session.report.faces) == 2


def test_the_box_has_no_colour_of_an_affect_where_none_is_named(registry, analyzer, monkeypatch):
    report = analyzer.analyze(photo("smile"))
    assert has_colour(draw_faces(report), AFFECT_COLOURS["positive"])
    unclear = replace(report.face(1).assessment, verdict="caution", prediction_set=("positive", "neutral"))
    report = report.with_assessment(1, unclear)
    assert reading_of(report, 1, "en").headline == "Not clear"
    drawn = draw_faces(report)
    assert has_colour(drawn, UNNAMED_COLOUR)
    assert not has_colour(drawn, AFFECT_COLOURS["positive"])
    session = Session()
    monkeypatch.setattr(live_tab, "time", SimpleNamespace(monotonic=lambda: 100.5))
    session.add_reading(LiveReading(100.0, dict.fromkeys(AFFECTS, 1 / 3), ("negative",)))
    drawn, html = read_frame(registry, session, photo("smile"), "any")  # another affect within the same second
    assert "Not clear" in html
    assert has_colour(drawn, UNNAMED_COLOUR)
    assert not has_colour(drawn, AFFECT_COLOURS["positive"])


@pytest.mark.parametrize(("long_side", "blackened"), [(260, False), (600, False), (1024, True)])
def test_outlines_blacken_no_face_of_middling_size(analyzer, long_side, blackened):
    view = close_up(analyzer.analyze(photo("smile")), long_side)
    left, top, right, bottom = (round(value) for value in view.face(1).face.box_xyxy)
    inside = np.s_[top + 20 : bottom - 20, left + 20 : right - 20]
    drawn, photo_rgb = draw_faces(view)[inside].astype(int), view.photo.rgb[inside].astype(int)
    assert (drawn.max(-1) < 0.5 * photo_rgb.max(-1) - 5).any() == blackened


def test_no_style_is_escaped():
    """Joined with Markup, plain CSS would lose its selectors and quotes."""
    assert " > " in CSS
    assert "&gt;" not in CSS
    assert "&#" not in CSS


def test_a_photo_that_cannot_be_read_clears_the_answer_and_says_why(registry):
    session = Session(language="de")
    read_photo(registry, session, photo("smile"), "any")
    values = read_photo(registry, session, ImageError(UNREADABLE), "any")
    assert values[:3] == [None, None, None]
    assert translator("de")(UNREADABLE) in values[3]
    assert "Positive" not in values[3]
    assert session.report is None


def test_a_checkpoint_that_fails_gives_way_to_the_last_good_one(analyzer):
    def load(name, on_progress=None):
        if name == "broken":
            raise CheckpointError("The checkpoint broken cannot be loaded.")
        return analyzer

    sessions = SessionStore()
    events, visitor = PhotoEvents(SimpleNamespace(analyzer=load), sessions), gr.Request(session_hash="visitor")
    *values, chosen, good = events.checkpoint("broken", "good one", visitor)
    assert (chosen, good) == ("good one", "good one")
    assert "cannot be loaded" in values[3]
    read_photo(SimpleNamespace(analyzer=load), sessions.create("visitor"), photo("smile"), "good one")
    *values, chosen, good = events.checkpoint("broken", "good one", visitor)
    assert chosen == "good one"
    assert values[3].index("cannot be loaded") < values[3].index("Positive expression")
    *_, (_, answer, _, _) = explained(
        SimpleNamespace(analyzer=lambda name: analyzer), sessions.get("visitor"), "good one", FEW
    )
    assert answer.index("cannot be loaded") < answer.index("Positive expression")  # while the map is drawn, too
    assert events.checkpoint("another", "good one", visitor)[-1] == "another"


def test_the_complete_map_brings_the_steadiness_of_the_answer(registry):
    session = Session()
    read_photo(registry, session, photo("smile"), "any")
    assert session.report.face(1).assessment.steadiness is None
    *_, last = explained(registry, session, "any", ExplanationSettings(samples=2))
    assert session.report.face(1).assessment.steadiness["n"] == 32
    assert "slightly changed copies" in last[1]


def test_a_face_too_small_gets_no_headline_but_the_reason_and_a_tip(registry):
    session = Session()
    tiny = cv2.resize(photo("smile").rgb, (24, 24), interpolation=cv2.INTER_AREA)
    values = read_photo(registry, session, Photo(tiny, (24, 24)), "any")
    [face] = session.report.faces
    assert face.assessment.verdict == "cannot say"
    visible = re.sub(r"<details.*?</details>", "", values[3], flags=re.DOTALL)
    assert "Cannot say" in visible
    assert str(escape(face.assessment.tip)) in visible
    assert "expression</h2>" not in visible
    assert 'class="bar"' not in visible
    assert 'class="bar"' in values[3]
    assert has_colour(values[1], UNNAMED_COLOUR)  # the box
    assert not has_colour(values[1], AFFECT_COLOURS[face.prediction.label])
    *_, (_, _, legend, _) = explained(registry, session, "any", FEW)
    assert "Where the model looked</h3>" in legend
    other = replace(FEW, target=next(affect for affect in AFFECTS if affect != face.prediction.label))
    *_, (_, _, legend, _) = explained(registry, session, "any", other)
    assert f"Where the model looked for “{other.target}”" in legend
