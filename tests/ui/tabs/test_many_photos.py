"""Many photos in a real browser: the list, two compared, and what was read so far."""

import io
import json
import zipfile
from pathlib import Path

from tests.conftest import EXAMPLES
from tests.ui.browser import DESKTOP, IN_BROWSER, PHONE, answered, open_tab, upload, wait_for_map

pytestmark = IN_BROWSER


def test_many_photos_become_a_grid_of_which_two_are_compared(visit, page_server, tmp_path):
    page = visit()
    open_tab(page, "Several")
    archive = tmp_path / "more.zip"
    archive.write_bytes(archive_with_bad_entries())
    (tmp_path / "broken.jpg").write_text("no photo")
    (tmp_path / "text.zip").write_text("no archive")
    page.set_input_files("#several-files", [EXAMPLES / "smile.jpg", tmp_path / "broken.jpg", archive])
    page.wait_for_function("() => document.querySelectorAll('.several-grid .card').length === 3")
    assert page.inner_text(".several-fault").splitlines() == [
        "huge.jpg: The photo is larger than 12 MB. Save it smaller and try again.",
        "locked.jpg, torn.jpg: This photo is damaged or encrypted in its zip archive.",
    ]
    assert several_titles(page) == ["smile.jpg", "broken.jpg", "cry.jpg"]
    edge = "(card) => getComputedStyle(card).borderTopColor"
    assert page.locator(".several-grid .card", has_text="broken.jpg").evaluate(edge) == "rgba(128, 128, 128, 0.4)"
    page.set_input_files("#several-files", tmp_path / "text.zip")
    page.wait_for_selector(".several-fault >> text=/^text.zip: The zip archive could not be read.$/")
    sort_and_filter_several(page)
    stop_several(page)
    the_opened_photo_is_explained(page)
    page.focus("#several-files")
    assert page.evaluate("getComputedStyle(document.querySelector('.several-drop')).outlineStyle") == "solid"
    for number in (1, 2):  # by the keyboard, which goes on from where it was
        page.locator(".several-grid .card-pick").nth(number).focus()
        page.keyboard.press("Space")
        chosen = page.locator(".several-grid .card").nth(number).get_attribute("data-number")
        assert page.evaluate("document.activeElement.closest('.card').dataset.number") == chosen
    page.click(".several-two")
    page.wait_for_selector(".comparison .difference")
    assert page.locator(".comparison img").count() == 2
    with page.expect_download() as download:
        page.click("#several-json")
    entries = json.loads(Path(download.value.path()).read_text())
    assert len(entries) == 4
    assert [entry["file"] for entry in entries if entry["faces"] and entry["faces"][0]["assessment"]["steadiness"]] == [
        "smile.jpg"
    ]
    page.click("#several-clear")
    page.wait_for_function("() => document.querySelectorAll('.card').length === 0")
    assert [path for path in page_server[1].rglob("*") if path.is_file()] == []
    assert page.faults == []


def archive_with_bad_entries() -> bytes:
    """Return a zip archive of one photo among one too large, one encrypted and one damaged."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("huge.jpg", bytes(13 * 2**20))
        archive.writestr("locked.jpg", b"a photo" * 20)
        archive.writestr("torn.jpg", b"a photo" * 20)
        archive.write(EXAMPLES / "cry.jpg", "folder/cry.jpg")
        archive.writestr("folder/notes.txt", "no photo")
    data = bytearray(stream.getvalue())
    torn = data.index(b"torn.jpg") + len("torn.jpg")
    data[torn : torn + 8] = b"\xff" * 8
    data[data.index(b"locked.jpg", data.index(b"PK\x01\x02")) - 46 + 8] |= 1  # its flags in the list of the archive
    return bytes(data)


def several_titles(page) -> list[str]:
    return page.locator(".several-grid .card-title").all_inner_texts()


def sort_and_filter_several(page) -> None:
    page.select_option(".several-filter", "l:negative")
    assert several_titles(page) == ["cry.jpg"]
    page.select_option(".several-filter", "")
    unsure = {"number": 99, "title": "unsure.jpg", "headline": "Not clear", "verdict": "caution", "label": "unclear"}
    page.evaluate("(card) => window.infantFerSeveral.add(card)", unsure | {"picture": "", "confidence": 0.62})
    page.select_option(".several-confidence", label="below 70 %")
    assert several_titles(page) == ["unsure.jpg"]  # not those without an answer
    assert "%" not in page.inner_text(".several-grid .card")  # of which affect?
    page.select_option(".several-confidence", label="all")
    page.select_option(".several-sort", "label")
    assert several_titles(page) == ["smile.jpg", "cry.jpg", "unsure.jpg", "broken.jpg"]
    page.select_option(".several-sort", "title")
    assert several_titles(page) == ["broken.jpg", "cry.jpg", "smile.jpg", "unsure.jpg"]


def stop_several(page) -> None:
    held = []
    page.route("**/upload?*", lambda route: held.append(route))
    with page.expect_request("**/upload?*"):
        page.set_input_files("#several-files", [EXAMPLES / f"{name}.jpg" for name in ("laugh", "pout", "cry")])
    page.click(".several-stop")
    held[0].continue_()
    page.unroute("**/upload?*")
    page.wait_for_selector(".several-progress", state="hidden")
    assert several_titles(page) == ["broken.jpg", "cry.jpg", "laugh.jpg", "smile.jpg", "unsure.jpg"]


def the_opened_photo_is_explained(page) -> None:
    """The answer in the list counts the steadiness once the Photo tab has explained it."""
    page.click(".several-grid .card-open[aria-label*='smile.jpg']")
    page.wait_for_selector("#several-detail >> text=smile.jpg")
    assert "slightly changed copies" not in page.text_content("#several-detail")
    page.click("#several-detail .several-explain")
    wait_for_map(page)
    open_tab(page, "Several")
    page.wait_for_function(
        "() => document.querySelector('#several-detail').textContent.includes('slightly changed copies')"
    )


def test_what_was_read_stands_once_in_the_tray_and_the_list(visit):
    page = visit(PHONE)
    page.click("#example-smile")
    answered(page, "Positive expression")
    upload(page, EXAMPLES / "cry.jpg")
    wait_for_map(page)
    page.click(
        "#tray .card-open[aria-label*='smile.jpg']"
    )  # its file is not at hand: Several, which nobody opened before
    page.wait_for_selector("#several-detail >> text=Positive expression")
    assert several_titles(page) == ["smile.jpg", "cry.jpg"]
    open_tab(page, "Photo")
    page.set_viewport_size(DESKTOP)  # where the examples stay in sight
    page.click("#example-smile")
    answered(page, "Positive expression")
    page.click("#tray .card-open[aria-label*='cry.jpg']")
    answered(page, "Negative expression")
    wait_for_map(page)
    assert page.locator("#tray .card").count() == 2
    the_projector_shows_the_answer_only(page)
    with page.expect_download() as download:
        open_tab(page, "Several")
        page.click("#several-json")
    entries = json.loads(Path(download.value.path()).read_text())
    assert [entry["file"] for entry in entries] == ["smile.jpg", "cry.jpg"]
    open_tab(page, "Photo")
    page.click("#tray-clear")
    page.wait_for_selector("#tray .tray", state="hidden")
    assert page.locator("#tray-clear").is_hidden()
    assert page.locator(".card").count() == 0


def the_projector_shows_the_answer_only(page) -> None:
    parts = {
        "#settings": False,
        "#tray": False,
        "#saves": False,
        "#examples": False,
        "#answer h2": True,
        "#map img": True,
    }
    size = page.evaluate("parseFloat(getComputedStyle(document.querySelector('#answer h2')).fontSize)")
    page.click("#projector")
    assert page.get_attribute("#projector", "aria-pressed") == "true"
    assert {part: page.locator(part).is_visible() for part in parts} == parts
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('#answer h2')).fontSize)") > 1.2 * size
    page.click("#projector")
    assert all(page.locator(part).is_visible() for part in parts)


def test_an_archive_that_is_unpacked_while_the_list_is_cleared_is_not_read(visit, tmp_path):
    page = visit()
    open_tab(page, "Several")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(EXAMPLES / "cry.jpg", "cry.jpg")
    page.evaluate(
        """() => {
            const real = Blob.prototype.arrayBuffer;
            const held = new Promise((resolve) => { window.release = resolve; });
            Blob.prototype.arrayBuffer = async function () {
                window.unpacks = true;
                await held;
                setTimeout(() => { window.unpacked = true; }, 500);
                return real.call(this);
            };
        }"""
    )
    page.set_input_files("#several-files", tmp_path / "photos.zip")
    page.wait_for_function("() => window.unpacks")
    with page.expect_response(lambda each: "/queue/join" in each.url):
        page.evaluate("document.querySelector('#several-clear').click()")
    page.wait_for_timeout(1000)  # the server has forgotten what was read until now, and would drop no later photo
    page.evaluate("release()")
    page.wait_for_function("() => window.unpacked")
    page.set_input_files("#several-files", EXAMPLES / "smile.jpg")
    page.wait_for_selector(".several-grid .card >> text=smile.jpg")
    assert page.locator(".several-grid .card").count() == 1
