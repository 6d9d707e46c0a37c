"""Every file of a timeline, read back with the format's own library where there is one."""

import csv
import io
import json
import re
import shutil
import zipfile
from dataclasses import replace

import pandas as pd
import pympi
import pytest
import webvtt
from playwright.sync_api import sync_playwright
from pyarrow import parquet

from infant_fer.video.bouts import build_timeline
from infant_fer.video.exports import BIDS_SIDECAR, BORIS_COLUMNS, EXPORTERS, FRAME_COLUMNS, export
from infant_fer.video.page import POINTS
from infant_fer.video.timeline import CANNOT_SAY, Event, FrameTable
from tests.video.test_timeline import SHARP, reading, timeline

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVENTS = (Event(0.0, "play", 0.4), Event(0.5, "toy (red), quiet"))


@pytest.fixture(scope="module")
def clip():
    """Return one person's 0.9 s: neutral, positive, not seen, negative, declined."""
    return timeline("oopp..nn?", events=EVENTS, valence=0.25, action_units={"AU12": 0.5, "AU4": 0.125})


@pytest.fixture(scope="module")
def folder(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    export(clip, folder)
    return folder


def test_every_format_is_written_under_its_name(folder):
    expected = {name.format(stem="clip") for name in EXPORTERS} | {"events.json"}
    assert {path.name for path in folder.iterdir()} == expected


def test_the_same_timeline_gives_the_same_bytes(clip, folder, tmp_path):
    export(clip, tmp_path)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_frames_as_csv_and_parquet_are_one_table(folder):
    table = pd.read_csv(folder / "frames.csv")
    assert tuple(table)[: len(FRAME_COLUMNS)] == FRAME_COLUMNS
    assert tuple(table)[len(FRAME_COLUMNS) :] == ("AU12", "AU4")
    assert table["seen"].tolist() == [1, 1, 1, 1, 0, 0, 1, 1, 1]
    assert table["label"].isna().tolist() == [False] * 4 + [True] * 2 + [False] * 3
    assert table.loc[2, ["positive", "valence", "left", "AU4"]].tolist() == [0.8, 0.25, 1, 0.125]
    assert table["verdict"].tolist()[-1] == CANNOT_SAY
    typed = parquet.read_table(folder / "frames.parquet").to_pandas()
    assert typed["seen"].dtype == bool
    assert tuple(typed) == tuple(table)
    pd.testing.assert_series_equal(typed["positive"], table["positive"], atol=1e-4)


def test_intervals(folder):
    lines = (folder / "intervals.csv").read_text().splitlines()
    assert lines[0] == "onset_s,offset_s,person,label,confidence,seen_share"
    assert lines[1] == "0.000,0.200,1,neutral,0.8000,1.0000"
    assert lines[3] == "0.400,0.600,1,not seen,,0.0000"


def test_elan_reads_the_tiers_the_vocabulary_and_the_clip(folder):
    document = pympi.Eaf(folder / "clip.eaf")
    assert sorted(document.get_tier_names()) == ["events", "person 1"]
    found = sorted(document.get_annotation_data_for_tier("person 1"))
    assert found == [
        (0, 200, "neutral"), (200, 400, "positive"), (400, 600, "not seen"), (600, 800, "negative"), (800, 900, "cannot say"),
    ]  # fmt: skip
    assert sorted(document.get_annotation_data_for_tier("events")) == [(0, 400, "play"), (500, 501, EVENTS[1].label)]
    assert document.get_parameters_for_linguistic_type("affect")["CONTROLLED_VOCABULARY_REF"] == "affect"
    values = [entry[0][0][0] for entry in document.get_cv_entries("affect").values()]
    assert values == ["positive", "neutral", "negative", "cannot say", "not seen"]
    assert document.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == "./clip.mp4"


def test_events_that_overlap_lie_on_tiers_of_their_own(tmp_path):
    """ELAN cannot hold overlapping annotations on one tier; two moments at one time overlap, too."""
    events = (Event(0.0, "session", 0.9), Event(0.2, "still face", 0.5), Event(0.2, "cue"), Event(0.5, "reunion", 0.8))
    export(timeline("oopp", events=events), tmp_path, ["{stem}.eaf"])
    document = pympi.Eaf(tmp_path / "clip.eaf")
    found = {tier: sorted(document.get_annotation_data_for_tier(tier)) for tier in document.tiers if "events" in tier}
    assert found == {
        "events": [(0, 900, "session")],
        "events 2": [(200, 500, "still face"), (500, 800, "reunion")],
        "events 3": [(200, 201, "cue")],
    }


@pytest.mark.parametrize("repeated", [1, POINTS // 5])
def test_the_curves_of_the_page_have_a_gap_where_the_gate_declined(tmp_path, repeated):
    """Also where each point stands for two frames."""
    clip = timeline("".join(letter * repeated for letter in "nnn???nn.n"), rules=replace(SHARP, smoothing_s=0.5))
    export(clip, tmp_path, ["report.html"])
    text = (tmp_path / "report.html").read_text().split('<script id="data" type="application/json">')[1]
    (person,) = json.loads(text.split("</script>")[0])["persons"]
    for curve, value in zip(person["curve"]["values"], (0.1, 0.1, 0.8), strict=True):
        points = min(10 * repeated, POINTS) // 10
        assert curve == [each for letter in "nnn???nn.n" for each in [value if letter == "n" else None] * points]


def test_a_name_as_long_as_a_browser_sends_can_be_written(tmp_path):
    clip = replace(timeline("pp"), source="赤" * 116 + ".mp4")
    assert {path.name for path in export(clip, tmp_path, ["{stem}.eaf"])} == {"赤" * 66 + ".eaf"}


def test_datavyu_holds_the_cells_of_play(folder):
    with zipfile.ZipFile(folder / "clip.opf") as archive:
        assert archive.namelist() == ["db", "project"]
        lines = archive.read("db").decode().splitlines()
        project = archive.read("project").decode()
    assert lines[:5] == [
        "#4",
        "childemo (MATRIX,true,)-emotion_pn|NOMINAL",
        "00:00:00:200,00:00:00:400,(p)",
        "00:00:00:400,00:00:00:600,(.)",
        "00:00:00:600,00:00:00:800,(n)",
    ]
    assert "00:00:00:800,00:00:00:900,(cannot say,,1.000)" in lines
    assert r"00:00:00:500,00:00:00:500,(toy \(red\)\, quiet)" in lines
    assert project.startswith('!project\ndbFile: db\nname: "clip"\n')


def test_boris_starts_and_stops_every_behaviour(folder):
    rows = list(csv.DictReader((folder / "boris.tsv").open(newline=""), delimiter="\t"))
    assert tuple(rows[0]) == BORIS_COLUMNS
    events = [(row["Time"], row["Behavior type"], row["Behavior"]) for row in rows]
    assert events[:3] == [("0.000", "START", "neutral"), ("0.200", "STOP", "neutral"), ("0.200", "START", "positive")]
    assert len(events) == 10
    assert {row["Subject"] for row in rows} == {"person 1"}


def test_subtitles(folder):
    captions = list(webvtt.read(str(folder / "clip.vtt")))
    assert [(each.start, each.end, each.text) for each in captions] == [
        ("00:00:00.000", "00:00:00.200", "person 1: looks neutral (80%)"),
        ("00:00:00.200", "00:00:00.400", "person 1: looks positive (80%)"),
        ("00:00:00.600", "00:00:00.800", "person 1: looks negative (80%)"),
        ("00:00:00.800", "00:00:00.900", "person 1: not clear"),
    ]


def test_bids_events_have_a_sidecar_for_every_column(folder):
    table = pd.read_csv(folder / "events.tsv", sep="\t", keep_default_na=False)
    assert tuple(table) == tuple(BIDS_SIDECAR)
    assert tuple(table)[:2] == ("onset", "duration")  # in this order, as BIDS asks
    assert json.loads((folder / "events.json").read_text()).keys() == BIDS_SIDECAR.keys()
    assert table.loc[0].tolist() == [0.0, 0.4, "play", "n/a", "n/a", "n/a"]
    assert table["onset"].is_monotonic_increasing
    seen = table[table["trial_type"] == "positive"].iloc[0]
    assert (seen["onset"], seen["duration"], seen["person"], seen["confidence"]) == (0.2, 0.2, "1", "0.8000")


def test_a_clip_without_faces_still_gives_readable_files(tmp_path):
    export(build_timeline("empty.mp4", FrameTable(), SHARP), tmp_path)
    assert pympi.Eaf(tmp_path / "empty.eaf").tiers == {}
    assert len(pd.read_csv(tmp_path / "frames.csv")) == 0
    assert list(webvtt.read(str(tmp_path / "empty.vtt"))) == []
    assert "No face was found." in (tmp_path / "report.html").read_text()


def test_a_hostile_name_breaks_no_file(tmp_path):
    name = 'a\nb\t"c",<script>alert(1)</script>{0}.mp4'
    clip = replace(timeline("pp"), source=name)
    clip.summary["source"] = name
    files = export(clip, tmp_path)
    assert {path.parent for path in files} == {tmp_path}
    assert all("\n" not in path.name for path in files)
    eaf = next(path for path in files if path.suffix == ".eaf")
    assert len(pympi.Eaf(eaf).get_annotation_data_for_tier("person 1")) == 1
    assert len((tmp_path / "boris.tsv").read_text().splitlines()) == 3
    assert "<script>alert" not in (tmp_path / "report.html").read_text()


def test_two_persons_keep_their_tiers_and_only_the_infant_is_coded_as_in_play(tmp_path):
    table = FrameTable()
    for place, letters in enumerate(("pn", "pn", "on")):
        for person, letter in enumerate(letters, 1):
            table.append(reading(place / 10, letter, person, infant=0.1 if person == 1 else 0.9))
    clip = build_timeline("two.mp4", table, SHARP)
    assert clip.infant == 2
    export(clip, tmp_path, ["{stem}.eaf", "{stem}.opf"])
    assert pympi.Eaf(tmp_path / "two.eaf").get_annotation_data_for_tier("person 2") == [(0, 300, "negative")]
    with zipfile.ZipFile(io.BytesIO((tmp_path / "two.opf").read_bytes())) as archive:
        text = archive.read("db").decode()
    assert re.findall(r"\(([pn.])\)", text) == ["n"]


@pytest.mark.browser
def test_the_page_shows_moments_by_mouse_and_keys_and_loads_nothing(folder, tmp_path):
    requests = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 700})
        page.on("request", lambda request: requests.append(request.url))
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((folder / "report.html").as_uri())
        assert page.locator("video").is_hidden()  # until the reader chooses the clip
        canvas = page.locator("canvas").first
        box = canvas.bounding_box()
        canvas.click(position={"x": box["width"] * 0.35 / 0.9, "y": 20})
        assert "0.35 s, person 1: positive" in page.locator("#moment").inner_text()
        page.keyboard.press("ArrowRight")
        assert "0.45 s, person 1: not seen" in page.locator("#moment").inner_text()
        page.get_by_role("button", name="0.60 s").click()
        assert "0.60 s, person 1: negative" in page.locator("#moment").inner_text()
        canvas.press("End")
        assert "0.90 s, person 1: cannot say" in page.locator("#moment").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()
    assert errors == []
    assert len(requests) == 1


@pytest.mark.browser
def test_the_page_says_the_state_of_the_person_that_was_chosen(tmp_path):
    """By a key on the person's curve, by the player's progress after it, and by an interval."""
    table = FrameTable()
    for place, letters in enumerate(("pn", "pn", "on")):
        for person, letter in enumerate(letters, 1):
            table.append(reading(place / 10, letter, person))
    export(build_timeline("two.mp4", table, SHARP), tmp_path, ["report.html"])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((tmp_path / "report.html").as_uri())
        page.locator("canvas").nth(1).press("ArrowRight")
        assert "0.10 s, person 2: negative" in page.locator("#moment").inner_text()
        page.evaluate("player.dispatchEvent(new Event('timeupdate'))")
        assert "0.00 s, person 2: negative" in page.locator("#moment").inner_text()
        page.get_by_role("button", name="0.20 s").click()
        assert "0.20 s, person 1: neutral" in page.locator("#moment").inner_text()
        browser.close()


@pytest.mark.browser
def test_a_clip_that_plays_is_said_at_each_new_bout_only(folder):
    """A screen reader reads every change of the moment aloud, four a second if each progress of the player were one."""
    play = "at => { clock = at; player.dispatchEvent(new Event('timeupdate')); return moment.textContent; }"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((folder / "report.html").as_uri())
        page.evaluate(
            "window.clock = 0; window.halted = false; player.hidden = false;"
            "Object.defineProperties(player, {currentTime: {get: () => clock, set: at => { clock = at; }}, paused: {get: () => halted}});"
        )
        first = page.evaluate(play, 0.33)
        assert "person 1: positive" in first
        assert page.evaluate(play, 0.37) == first
        assert "person 1: negative" in page.evaluate(play, 0.65)
        page.evaluate("clock = 0.75; window.dispatchEvent(new Event('resize'))")  # a phone's address bar goes
        assert page.evaluate("clock") == 0.75
        page.evaluate("halted = true")
        assert "0.70 s, person 1: negative" in page.evaluate(play, 0.7)  # where it was stopped
        browser.close()
