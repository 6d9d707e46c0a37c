"""The Clip tab: its events without a browser, and once the whole of it in a real browser."""

import base64
import io
import zipfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.data_classes import FileData

from infant_fer.ui.clip import tab
from infant_fer.ui.clip.tab import ALL_FORMATS, WHOLE, ClipEvents
from infant_fer.ui.clip.upload import PrivateClip, UploadedClip
from infant_fer.ui.sessions import SessionStore
from tests.ui.browser import CHROMIUM, DESKTOP, PHONE
from tests.video.clips import encoded, placed, plain, portrait

REQUEST = SimpleNamespace(session_hash="visitor", client=SimpleNamespace(host="127.0.0.1"))
RATE = "5 frames a second"


@pytest.fixture(scope="module")
def webm() -> bytes:
    """Return one second of a smile and one of a cry."""
    smile, cry = portrait("smile"), portrait("cry")
    frames = (placed([(smile if number < 25 else cry, 40, 20)]) for number in range(50))
    return encoded(frames, "webm", "libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"})


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return the upload folder of this test."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def events(analyzer) -> ClipEvents:
    return ClipEvents(SimpleNamespace(analyzer=lambda checkpoint: analyzer), SessionStore())


def read(events: ClipEvents, data: bytes, name: str = "clip.webm") -> list:
    return list(events.read(UploadedClip(io.BytesIO(data), name), RATE, WHOLE, "", REQUEST))


def test_a_clip_gives_progress_and_then_its_timeline(events, webm):
    steps = read(events, webm)
    assert "progress" in steps[0][1]
    assert 'sandbox="allow-scripts"' in steps[-1][1]
    timeline = events.sessions.get("visitor").timeline
    assert [each.label for each in timeline.intervals] == ["positive", "negative"]


def test_downloads_hold_every_format_and_leave_no_file(events, webm, folder):
    with pytest.raises(gr.Error, match="no timeline yet"):
        events.save(ALL_FORMATS, REQUEST)
    read(events, webm)
    packed = events.save(ALL_FORMATS, REQUEST)
    assert packed["name"] == "clip.zip"
    names = zipfile.ZipFile(io.BytesIO(base64.b64decode(packed["base64"]))).namelist()
    assert {"frames.csv", "clip.eaf", "clip.opf", "clip.vtt", "events.tsv", "events.json", "report.html"} <= set(names)
    assert events.save("intervals.csv", REQUEST)["name"] == "intervals.csv"
    assert list(folder.iterdir()) == []


def test_a_clip_that_cannot_be_read_is_one_sentence_and_clears_the_view(events):
    steps = list(events.read(UploadedClip(io.BytesIO(b"no clip"), "x.mp4"), RATE, WHOLE, "", REQUEST))
    assert "could not be read as a video clip" in steps[-1][1]
    assert steps[-1][2:] == [gr.update(visible=False)] * 2
    assert events.sessions.get("visitor").timeline is None


def test_a_newer_clip_or_a_visitor_who_left_ends_the_reading(events, webm, monkeypatch):
    monkeypatch.setattr(tab, "SHOWN_EVERY", 0.0)
    for leave in (lambda: events.stop(REQUEST), lambda: events.sessions.forget("visitor")):
        steps = events.read(UploadedClip(io.BytesIO(webm), "x.webm"), RATE, WHOLE, "", REQUEST)
        next(steps)
        next(steps)
        leave()
        assert list(steps) == []
        assert events.sessions.get("visitor").timeline is None


def test_a_clip_that_is_too_long_is_refused(events):
    clip = encoded(plain(40), "matroska", times_ms=range(0, 200_000, 5000))
    assert "at most 180" in read(events, clip)[-1][1]


def test_a_clip_of_too_large_frames_is_refused(events, webm, monkeypatch):
    monkeypatch.setattr(tab, "CLIP_PIXELS", 1000)
    assert "megapixels" in read(events, webm)[-1][1]


def test_an_upload_that_is_no_longer_there_clears_the_view_and_says_so(events, folder):
    taken = PrivateClip(render=False).preprocess(FileData(path=str(folder / "clip.mp4"), orig_name="clip.mp4"))
    assert "no longer on the server" in list(events.read(taken, RATE, WHOLE, "", REQUEST))[-1][1]


def test_the_upload_is_gone_once_it_is_taken_and_nothing_else_is_read(folder, tmp_path_factory):
    upload = folder / "x" / "clip.mp4"
    upload.parent.mkdir()
    upload.write_bytes(b"bytes")
    taken = PrivateClip(render=False).preprocess(FileData(path=str(upload), orig_name="my\nclip.mp4"))
    assert (taken.data.read(), "\n" in taken.name) == (b"bytes", False)
    assert list(folder.iterdir()) == []
    outside = tmp_path_factory.mktemp("other") / "secret"
    outside.write_bytes(b"secret")
    refused = PrivateClip(render=False).preprocess(FileData(path=str(outside)))
    assert "Only a file uploaded" in refused.sentence
    assert outside.exists()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: the tab is not tried in a browser.")
def test_the_tab_in_a_browser(page_server, webm, tmp_path):
    """Upload, timeline, keys, player, download and explanation of a frame; no file stays and nothing leaves this computer."""
    from playwright.sync_api import sync_playwright

    url, temp, _ = page_server
    path = tmp_path / "clip.webm"
    path.write_bytes(webm)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(accept_downloads=True).new_page()
        page.set_default_timeout(90_000)
        faults, requested = [], []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(url)
        page.get_by_role("tab", name="Clip").click()
        page.set_input_files("#clip-file input[type=file]", str(path))
        page.wait_for_selector("#clip-view iframe")
        inside = page.frame_locator("#clip-view iframe")
        canvas = inside.locator("canvas").first
        canvas.press("End")
        canvas.press("ArrowLeft")
        assert "negative" in inside.locator("#moment").inner_text()
        inside.locator("video").evaluate(
            "v => new Promise(done => v.readyState ? done() : v.addEventListener('loadeddata', done))"
        )
        inside.locator("[data-time]").first.click()
        assert "positive" in inside.locator("#moment").inner_text()
        reach(page, "#clip-save")
        with page.expect_download() as download:
            page.click("#clip-save")
        assert download.value.suggested_filename == "clip.zip"
        page.click("#clip-format input")
        formats = page.locator("[role=option]").all_inner_texts()
        assert "clip.eaf" in formats
        assert not [each for each in formats if "__" in each]
        page.keyboard.press("Escape")
        page.set_viewport_size(PHONE)
        caption = inside.locator("#shares-1").bounding_box()
        assert caption["x"] + caption["width"] <= PHONE["width"]
        settings = page.locator("#clip-side fieldset").first.bounding_box()
        assert page.locator("#clip-view").bounding_box()["y"] < settings["y"]  # the result comes first
        page.set_viewport_size(DESKTOP)
        page.evaluate(
            "() => { window.cameraRequests = 0; "
            "navigator.mediaDevices.getUserMedia = () => { window.cameraRequests += 1; return new Promise(() => {}); }; }"
        )
        page.dblclick("#clip-record")  # while the browser asks: a second camera would stay on after Stop
        assert page.evaluate("window.cameraRequests") == 1
        page.click("#clip-explain")
        page.wait_for_selector("#photo img, #landmarks img")
        page.get_by_text("The expression looks positive").first.wait_for()
        browser.close()
    assert faults == []
    assert all(each.startswith((url.rstrip("/"), "blob:", "data:", "about:")) for each in requested)
    assert [each for each in Path(temp).rglob("*") if each.is_file() and each.stat().st_size] == []


def reach(page, button: str) -> None:
    """Move the mouse until the page has it: just after scrolling, Chromium may still give it to the frame that was there."""
    from playwright.sync_api import TimeoutError as NotReached

    for _ in range(50):
        page.hover(button)
        with suppress(NotReached):
            page.wait_for_selector(f"{button}:hover", timeout=200)
            return
        page.mouse.move(0, 0)
    raise AssertionError(f"{button} cannot be reached by the mouse.")
