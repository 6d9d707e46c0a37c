"""The page in a real browser with a fake camera, on desktop and phone."""

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import gradio_client
import pytest
from PIL import Image

from infant_fer.images import UNREADABLE
from infant_fer.ui import about_tab
from tests.conftest import EXAMPLES, ROOT
from tests.ui.browser import DESKTOP, IN_BROWSER, PHONE, picture, upload, wait_for_map

pytestmark = IN_BROWSER


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_upload_shows_both_pictures_and_the_answer(visit, viewport):
    page = visit(viewport)
    upload(page, EXAMPLES / "smile.jpg")
    wait_for_map(page)
    for name in ("landmarks", "map"):
        assert page.locator(f"#{name} img").is_visible()
        assert picture(page, name).startswith("data:image/jpeg;base64,")
    assert picture(page, "landmarks") != picture(page, "map")
    answer = page.inner_text("#answer")
    assert "expression" in answer
    assert "It looked most at the" in answer
    assert "not a medical device" in answer
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= viewport["width"] + 1, "the page scrolls sideways"
    assert page.faults == []


def test_an_example_is_one_click_and_the_keyboard_suffices(visit):
    page = visit()
    page.focus("#example-cry")
    page.keyboard.press("Enter")
    wait_for_map(page)
    assert page.locator("#map img").is_visible()


def test_second_face_by_number_and_by_click(visit, analyzer, two_faces_path):
    page = visit()
    upload(page, two_faces_path)
    wait_for_map(page)
    first = picture(page, "landmarks")
    page.locator("#face label", has_text="2").click()
    page.wait_for_function("(old) => document.querySelector('#landmarks img').src !== old", arg=first)
    wait_for_map(page)
    second = picture(page, "landmarks")
    assert second != first
    middles = {face.number: face.face.landmarks_px[:, 0].mean() for face in analyzer.analyze(two_faces_path).faces}
    sides = {number: 0.25 if middle == min(middles.values()) else 0.75 for number, middle in middles.items()}
    box = page.locator("#landmarks img").bounding_box()
    for number, expected in ((1, first), (2, second)):  # the second is chosen now
        page.mouse.click(box["x"] + sides[number] * box["width"], box["y"] + 0.5 * box["height"])
        page.wait_for_function("(wanted) => document.querySelector('#landmarks img').src === wanted", arg=expected)


def test_the_map_can_be_stopped(visit):
    page = visit()
    page.click("#settings button")
    choose_checkpoint(page, "infant-fer-vit")  # its map of 200 samples takes seconds on any machine
    the_card_shows(page, "DINOv2")
    stop_the_map(page)
    choose_checkpoint(page, "infant-fer-small")
    the_card_shows(page, "convolution-transformers")


def test_only_a_card_with_words_is_a_card():
    def card(text: str) -> str:
        return about_tab._card(SimpleNamespace(classifier=SimpleNamespace(card=text)))

    assert card("---\nlicense: mit\n---\n") == card("") == ""
    assert card("---\nlicense: mit\n---\n# Words\n") == "# Words"
    tables = "| | wanted |\n|---|---|\n| a | b |\n\n## Goals < means\n\n| size |\n|---|\n| 1 |\n"
    assert re.findall("<summary>(.*)</summary>", card(tables)) == ["wanted", "Goals &lt; means: size"]


def choose_checkpoint(page, name: str) -> None:
    page.click("#checkpoint input")
    page.locator("[role=option]", has_text=name).click()


def the_card_shows(page, words: str) -> None:
    page.get_by_role("tab", name="About").click()
    page.wait_for_selector(f"#card >> text={words} >> nth=0")
    page.get_by_role("tab", name="Photo").click()


def stop_the_map(page) -> None:
    from playwright.sync_api import expect

    samples = page.locator("#samples input[type=number]")
    taken = page.locator("#samples input[type=range]")
    for attempt in range(20):  # a box that has only just unfolded may forget what is typed
        samples.fill("200")
        page.keyboard.press("Tab")
        try:
            expect(taken).to_have_value("200", timeout=1000)
            break
        except AssertionError:
            if attempt == 19:
                raise
    upload(page, EXAMPLES / "laugh.jpg")
    page.wait_for_selector("#cancel", state="visible")
    page.wait_for_function("() => /\\d+ of 200 samples/.test(document.querySelector('#legend')?.innerText)")
    page.click("#cancel")
    page.wait_for_selector("#cancel", state="hidden")
    change_overlay(page, "mesh")
    stopped = page.inner_text("#legend")
    assert "200 of 200" not in stopped
    for overlay in ("box only", "outlines", "mesh"):  # each goes to the server and back
        change_overlay(page, overlay)
    assert page.inner_text("#legend") == stopped


def change_overlay(page, overlay: str) -> None:
    if not page.locator("#overlay").is_visible():
        page.click("#settings button")
    before = picture(page, "landmarks")
    page.locator("#overlay label", has_text=overlay).click()
    page.wait_for_function("(old) => document.querySelector('#landmarks img').src !== old", arg=before)


def test_settings_change_the_map_and_its_look(visit):
    page = visit()
    upload(page, EXAMPLES / "pout.jpg")
    wait_for_map(page)
    before = picture(page, "map"), picture(page, "landmarks")
    page.click("#settings button")
    reset, number = page.locator("#samples button"), page.locator("#samples input[type=number]")
    assert reset.bounding_box()["height"] <= number.bounding_box()["height"] + 4  # else its sign is cut off
    assert page.locator("#legend .signed").is_hidden()
    page.locator("#map-view label", has_text="for and against").click()
    page.locator("#legend .signed").wait_for(state="visible")
    page.locator("#map-view label", has_text="smooth").click()
    page.locator("#overlay label", has_text="mesh").click()
    page.wait_for_function("(old) => document.querySelector('#landmarks img').src !== old", arg=before[1])
    page.locator("#overlay label", has_text="difference from an average face").click()
    page.wait_for_function("() => document.querySelector('#overlay-words').innerText.includes('average neutral')")
    page.locator("#close-up input").uncheck()
    page.wait_for_function("(old) => document.querySelector('#map img').src !== old", arg=before[0])
    page.click("#target input")
    page.locator("[role=option]", has_text="positive").click()
    page.wait_for_function("() => document.querySelector('#legend').innerText.includes('“positive”')")
    page.click("#method input")
    page.locator("[role=option]", has_text="Occlusion by patch").click()
    page.wait_for_function("() => document.querySelector('#legend').innerText.includes('Occlusion')")


def test_arrow_keys_move_the_settings(visit):
    page = visit()
    upload(page, EXAMPLES / "pout.jpg")
    wait_for_map(page)
    page.click("#settings button")
    page.focus("#samples input[type=range]")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#legend').innerText.includes('55 of 55 samples')")
    before = picture(page, "landmarks")
    page.focus("#overlay input:checked")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(old) => document.querySelector('#landmarks img').src !== old", arg=before)
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("(first) => document.querySelector('#landmarks img').src === first", arg=before)
    before = picture(page, "map")
    page.focus("#strength input[type=range]")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("(old) => document.querySelector('#map img').src !== old", arg=before)


def the_endpoint_says_the_same(report: dict, address: str) -> None:
    """The steadiness and the verdict that counts it are those beside the page's complete map."""
    client = gradio_client.Client(address, download_files=False, analytics_enabled=False, verbose=False)
    photo = gradio_client.handle_file(EXAMPLES / "smile.jpg")
    [unread] = client.predict([gradio_client.handle_file(ROOT / "README.md")], api_name="/analyze_batch")
    assert unread == {"file": "README.md", "error": UNREADABLE, "faces": []}
    answers = [client.predict(photo, explain=explain, api_name="/analyze") for explain in (True, False)]
    explained, plain = (answer["faces"][0]["assessment"] for answer in answers)
    assert explained == report["faces"][0]["assessment"]
    assert explained["steadiness"]["n"] == 32
    assert plain == {**explained, "steadiness": None}  # it is steady


def test_downloads_parse(visit, page_server):
    page = visit()
    upload(page, EXAMPLES / "smile.jpg")
    wait_for_map(page)
    saved, names = {}, {"landmarks": "landmarks", "map": "map", "json": "report", "html": "report"}
    for kind in ("landmarks", "map", "json", "html"):
        with page.expect_download() as download:
            page.click(f"#save-{kind}")
        saved[kind] = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename.startswith(f"smile-{names[kind]}")
    for kind in ("landmarks", "map"):
        assert Image.open(io.BytesIO(saved[kind])).size == Image.open(EXAMPLES / "smile.jpg").size
    assert saved["landmarks"] != saved["map"]
    report = json.loads(saved["json"])
    assert report["faces"][0]["explanation"]["samples"] == 50
    the_endpoint_says_the_same(report, page_server[0])
    page.set_content(saved["html"].decode())
    assert page.locator("img").count() == 2
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) == 1  # a face is a printed page
    assert "http" not in saved["html"].decode().replace("https://www.w3.org", "")


def test_bad_files_get_a_message_and_nothing_is_lost(visit, tmp_path):
    page = visit()
    upload(page, EXAMPLES / "smile.jpg")
    wait_for_map(page)
    before = page.inner_text("#answer")
    text = tmp_path / "notes.jpg"
    text.write_text("this is no photo")
    page.click("#photo button[aria-label='Remove Image']")
    upload(page, text)
    page.wait_for_selector("text=could not be read as a photo")
    upload(page, EXAMPLES / "smile.jpg")
    wait_for_map(page)
    assert page.inner_text("#answer") == before


SLOW_REMOVAL = """() => { const real = window.fetch; window.fetch = async (address, options) => {
    const answer = await real(address, options);
    const removal = String(address).includes("queue/join") && String(options?.body).startsWith('{"data":[null,');
    if (removal) { await new Promise((resume) => setTimeout(resume, 4000)); window.removalAnswered = true; }
    return answer;
} }"""


def test_a_photo_chosen_while_the_removal_of_another_is_under_way_is_read(visit, page_server):
    page = visit()
    upload(page, EXAMPLES / "smile.jpg")
    wait_for_map(page)
    page.evaluate(SLOW_REMOVAL)
    with page.expect_response(lambda response: "queue/join" in response.url):
        page.click("#photo button[aria-label='Remove Image']")
    page.wait_for_selector("#answer >> text=Choose a photo")
    assert page.locator("#landmarks img, #map img").count() == 0
    upload(page, EXAMPLES / "cry.jpg")
    page.wait_for_function("() => document.querySelector('#answer')?.innerText.includes('looks negative')")
    wait_for_map(page)
    page.wait_for_function("() => window.removalAnswered")
    change_overlay(page, "mesh")  # goes to the server and back, behind the late answer
    assert picture(page, "photo").startswith("data:image/jpeg;base64,")
    assert [path for path in page_server[1].rglob("*") if path.is_file()] == []


def test_without_an_answer_there_is_advice(visit, tmp_path, astronaut):
    Image.new("RGB", (640, 480), (0, 0, 0)).save(tmp_path / "black.png")
    page = visit()
    upload(page, tmp_path / "black.png")
    page.wait_for_selector("text=No face found")
    assert page.locator("#landmarks img").is_visible()
    assert not page.locator("#map, #legend, #save-map").and_(page.locator(":visible")).count()  # there is none
    assert page.locator("text=larger, well lit").is_visible()
    Image.fromarray(astronaut).save(tmp_path / "adult.png")
    upload(page, tmp_path / "adult.png")
    page.wait_for_selector("#answer h2 >> text=Cannot say")
    assert page.locator("#answer .withheld .bar").first.is_hidden()
    page.click("#answer .withheld summary")  # the probabilities are there for whoever asks
    assert page.locator("#answer .withheld .bar").first.is_visible()


# Opens a tab, and says whether anything moves then.
ANIMATED = """async (name) => {
    [...document.querySelectorAll("[role=tab]")].find((each) => each.innerText === name).click();
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
    return document.getAnimations().length > 0;
}"""


def test_about_shows_the_card_and_nothing_moves_for_who_wants_that(visit):
    page = visit()
    page.context.new_cdp_session(page).send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    page.wait_for_function("() => document.querySelector('#projector').offsetHeight >= 44")
    assert page.evaluate(ANIMATED, arg="About")  # Gradio's tabs fade in
    page.emulate_media(reduced_motion="reduce")
    assert not page.evaluate(ANIMATED, arg="Live")
    page.get_by_role("tab", name="About").click()
    page.wait_for_selector("text=not a medical device")
    assert len(page.inner_text("#card")) > 200


def test_every_request_stays_on_this_computer(visit, page_server):
    page = visit()
    upload(page, EXAMPLES / "neutral.jpg")
    wait_for_map(page)
    page.get_by_role("tab", name="About").click()
    foreign = [url for url in page.requested if not url.startswith((page_server[0], "data:", "blob:"))]
    assert foreign == []
