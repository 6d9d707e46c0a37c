"""Several photos: what is kept of each, tables and reports of many, two compared; without a browser."""

import base64
import csv
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from infant_fer.analyzer import ExplanationSettings
from infant_fer.batch.writers import COLUMNS
from infant_fer.errors import ImageError
from infant_fer.images import UNREADABLE, Photo, load_photo
from infant_fer.locales import translator
from infant_fer.ui import sessions as sessions_module
from infant_fer.ui.sessions import SessionStore
from infant_fer.ui.several.readings import card, comparison_html, opened_html, reading_of, table, unread
from infant_fer.ui.several.tab import SeveralEvents
from tests.conftest import EXAMPLES

VISITOR = gr.Request(session_hash="visitor", client=None, headers={})


@pytest.fixture(scope="module")
def readings(analyzer):
    names = ("smile", "laugh", "cry")
    photos = [replace(load_photo(EXAMPLES / f"{name}.jpg"), name=f"{name}.jpg") for name in names]
    return [reading_of(analyzer.analyze(photo), number, "en") for number, photo in enumerate(photos, 1)]


@pytest.fixture
def events(analyzer):
    return SeveralEvents(SimpleNamespace(analyzer=lambda name: analyzer), SessionStore())


def content(download: dict[str, str]) -> str:
    return base64.b64decode(download["base64"]).decode()


def test_a_reading_keeps_no_photo(readings):
    fields = vars(readings[0]).values()
    assert not [value for value in fields if isinstance(value, (np.ndarray, Photo))]
    assert len(readings[0].picture) < 40_000


def test_two_are_compared_on_one_scale_and_in_words(readings):
    smile, laugh, cry = readings
    assert "less positive than the first" in comparison_html(smile, cry, "en")
    assert "Both look alike" in comparison_html(smile, laugh, "en")
    withheld = replace(cry, verdict="cannot say")
    html = comparison_html(smile, withheld, "en")
    assert "no answer for cry.jpg" in html
    assert html.count('class="bar"') == 3  # of the first only


def test_what_has_no_answer_is_compared_by_what_is_known_of_it(readings, analyzer):
    html = comparison_html(unread("broken.jpg", 4, translator("de")(UNREADABLE), "de"), readings[0], "de")
    assert 'src=""' not in html
    assert translator("de")(UNREADABLE) in html
    faceless = reading_of(analyzer.analyze(Photo(np.zeros((240, 320, 3), np.uint8), (320, 240))), 5, "de")
    html = comparison_html(readings[0], faceless, "de")
    assert f"<p>{translator('de')('No face found')}</p>" in html


def test_the_opened_answer_asks_for_no_choice_of_a_face(analyzer, two_faces_path):
    report = analyzer.analyze(two_faces_path)
    assert any("choose the one you mean" in note for note in report.notes)
    assert "choose the one" not in opened_html(reading_of(report, 1, "en"), True, "en")


def test_tables_hold_every_photo(events):
    for name in ("smile", "cry"):
        events.read(replace(load_photo(EXAMPLES / f"{name}.jpg"), name=f"{name}.jpg"), name, 1, "any", VISITOR)
    shown, photo = events.read(ImageError(UNREADABLE), "=broken.jpg", 2, "any", VISITOR)
    assert photo is None
    assert shown["verdict"] == "none"
    rows = list(csv.DictReader(io.StringIO(content(events.save("csv")(VISITOR)))))
    assert tuple(rows[0]) == COLUMNS
    assert [row["label"] for row in rows] == ["positive", "negative", "unreadable"]
    assert rows[2]["file"] == "'=broken.jpg"  # no formula for a spreadsheet
    entries = json.loads(content(events.save("json")(VISITOR)))
    assert [entry["file"] for entry in entries] == ["smile.jpg", "cry.jpg", "=broken.jpg"]
    assert entries[0]["faces"][0]["assessment"]["verdict"] == "answer"
    assert entries[0]["version"]
    assert len(entries[0]["weights_sha256"]) == 64
    assert entries[0]["read_at"].endswith("Z")
    report = content(events.save("html")(VISITOR))
    assert "<td>smile.jpg</td><td>Positive expression</td><td>answer</td>" in report
    assert "<td>=broken.jpg</td><td>Not read</td><td>–</td>" in report
    events.clear(VISITOR)
    with pytest.raises(gr.Error, match="nothing to save"):
        events.save("csv")(VISITOR)


def test_a_report_of_sixty_photos_starts_with_a_summary_and_is_small(readings):
    page = content(table(readings * 20, "html", "en"))
    assert len(page) < 3_000_000
    assert page.index("Summary") < page.index("smile.jpg") < page.index("data:image/jpeg")
    assert "60 photos." in page
    assert page.count("<img src=") == 60
    assert "&lt;" not in page
    assert page.count("@software{infant_fer") == 1
    assert "break-after: page" in page


def test_the_list_has_an_end(events, monkeypatch):
    monkeypatch.setattr(sessions_module, "MAX_READINGS", 1)
    photo = load_photo(EXAMPLES / "smile.jpg")
    assert "full" not in events.read(photo, "a.jpg", 1, "any", VISITOR)[0]
    assert events.read(photo, "b.jpg", 2, "any", VISITOR)[0]["full"]


def test_a_photo_that_is_read_while_the_list_is_cleared_does_not_come_back(analyzer):
    events = SeveralEvents(SimpleNamespace(analyzer=lambda name: clearing), SessionStore())

    def analyze(photo, budget):
        events.clear(VISITOR)
        return analyzer.analyze(photo)

    clearing = SimpleNamespace(analyze=analyze)
    photo = load_photo(EXAMPLES / "smile.jpg")
    assert events.read(photo, "a.jpg", 1, "any", VISITOR) == ({"cleared": True, "request": 1}, None)
    assert not events.sessions.get("visitor").readings


def test_what_is_kept_belongs_to_one_visitor(events):
    shown, _ = events.read(load_photo(EXAMPLES / "smile.jpg"), "a.jpg", 1, "any", VISITOR)
    assert "expression looks positive" in events.open_one([shown["number"], False], VISITOR)
    with pytest.raises(gr.Error, match="no longer kept"):
        events.open_one([shown["number"], False], gr.Request(session_hash="another", client=None, headers={}))


def test_an_opened_photo_can_be_explained_where_its_file_is(readings):
    assert "several-explain" in opened_html(readings[0], True, "en")
    assert "several-explain" not in opened_html(readings[0], False, "en")
    broken = unread("broken.jpg", 4, UNREADABLE, "en")
    assert "several-explain" not in opened_html(broken, True, "en")
    assert "broken.jpg" in opened_html(broken, True, "en")


def test_a_card_of_an_answer_that_is_withheld_shows_no_number(readings):
    shown = card(replace(readings[0], verdict="cannot say"), "en")
    assert shown["headline"] == "Cannot say"
    assert (shown["confidence"], shown["label"], shown["colour"]) == (0.0, "none", "")


def test_the_summary_says_of_each_photo_what_its_headline_says(readings):
    unclear = replace(readings[0], title="unclear.jpg", label=None)
    faceless = replace(readings[0], title="wall.jpg", label=None, verdict=None, prediction=None)
    page = content(table([*readings, unclear, faceless], "html", "en"))
    assert "<td>unclear.jpg</td><td>Not clear</td><td>answer</td>" in page
    assert "<td>wall.jpg</td><td>No face found</td><td>–</td>" in page
    assert "positive: 2, neutral: 0, negative: 1, Not clear: 1." in page
    assert (card(unclear, "en")["headline"], card(unclear, "en")["label"]) == ("Not clear", "unclear")


def test_a_photo_is_listed_once_and_its_complete_map_brings_the_steadiness(events, analyzer):
    session = events.sessions.create("visitor")
    session.report = analyzer.analyze(replace(load_photo(EXAMPLES / "smile.jpg"), name="smile.jpg"))
    assert events.update_shown(VISITOR) is None  # not listed yet
    shown = events.list_shown(VISITOR)
    assert events.list_shown(VISITOR) is None
    assert events.update_shown(VISITOR) is None  # no map yet
    *_, session.report = analyzer.explain_with_steadiness(session.report, 1, ExplanationSettings(samples=5))
    assert events.update_shown(VISITOR)["number"] == shown["number"]
    [entry] = json.loads(content(events.save("json")(VISITOR)))
    assert entry["faces"][0]["assessment"]["steadiness"]["n"] == 32
    session.report = replace(session.report, checkpoint="another")
    assert events.list_shown(VISITOR)["number"] != shown["number"]
