"""The answer in a real browser: at once on a phone, cleared by every failure, for every reader."""

from pathlib import Path

import pytest

from tests.conftest import EXAMPLES
from tests.ui.browser import (
    DESKTOP,
    IN_BROWSER,
    PHONE,
    SECONDS,
    answered,
    count_listed,
    open_tab,
    picture,
    upload,
    wait_for_map,
    wait_until_listed,
)
from tests.ui.test_languages import english_in

pytestmark = IN_BROWSER
# The contrast of an element's words with the page (WCAG 2.2, relative luminance).
CONTRAST = """(element) => {
  const luminance = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).map((each) => each / 255)
    .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
  const background = getComputedStyle(document.body).backgroundColor;
  const [low, high] = [getComputedStyle(element).color, background].map(luminance).sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}"""
FADED_IN = """async () => {  // after two frames the tab's transitions have begun
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
    const ending = document.getAnimations().filter((each) => each.effect.getComputedTiming().iterations !== Infinity);
    await Promise.allSettled(ending.map((each) => each.finished));
}"""
# Whether that many messages with these words are shown.
TOASTS = """([words, count]) =>
    [...document.querySelectorAll(".toast-message-text")].filter((each) => each.innerText.trim() === words).length === count"""
AXE = Path(__file__).parents[1] / "vendor" / "axe.min.js"
LAYOUT_SHIFTS = """() => { window.shift = 0; new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({type: "layout-shift", buffered: true}); }"""
NAMES = """() => [...document.querySelectorAll("[aria-label], [title]")]
    .flatMap((each) => [each.getAttribute("aria-label"), each.getAttribute("title")]).filter(Boolean)"""
# What is lower than 44 px of the settings, or has something else at its upper or lower edge.
UNTOUCHABLE = """() => [...document.querySelectorAll("#settings :is(button, input, summary)")].flatMap((each) => {
    const target = each.closest("label:has(> :is([type=checkbox], [type=radio]))") || each.closest(".wrap-inner") || each;
    target.scrollIntoView({block: "center"});
    const box = target.getBoundingClientRect(), middle = box.left + box.width / 2;
    const hit = [box.top + 2, box.bottom - 2].every((y) => target.contains(document.elementFromPoint(middle, y)));
    if (box.width === 0 || box.height >= 43.9 && hit) return [];
    return [`${each.ariaLabel || each.title || target.innerText}: ${box.height} px, ${hit}`];
})"""
SEEN = """(selector) => { const box = document.querySelector(selector).getBoundingClientRect();
    return box.top >= 0 && box.bottom <= innerHeight && box.height > 0; }"""


@pytest.mark.parametrize("viewport", [PHONE, {"width": 320, "height": 568}, {"width": 1100, "height": 700}])
def test_the_verdict_is_in_sight_and_nothing_jumps(visit, viewport):
    page = visit(viewport)
    page.evaluate(LAYOUT_SHIFTS)
    upload(page, EXAMPLES / "smile.jpg")
    wait_for_map(page)
    assert page.evaluate("scrollY") == 0
    assert page.evaluate(SEEN, "#answer h2")
    assert page.evaluate(SEEN, "#answer .bar:nth-of-type(3)")
    assert page.evaluate("window.shift") <= 0.05
    assert page.get_attribute("#answer", "aria-live") == "polite"
    assert "Positive expression" in page.get_attribute("#map img", "alt")
    if viewport["width"] < 640:
        page.locator("#picture-switch input").fill("30")
        assert "inset(0px 70%" in page.evaluate(
            "getComputedStyle(document.querySelector('#pictures').lastElementChild).clipPath"
        )
        page.click("#settings button")
        page.locator("#strength input[type=range]").scroll_into_view_if_needed()
        page.evaluate(FADED_IN)
        assert page.evaluate(UNTOUCHABLE) == []
        widths = [page.locator(f"#{name}").bounding_box()["width"] for name in ("target", "strength", "checkpoint")]
        assert max(widths) - min(widths) < 5  # none shares a line, where its words would be cut off
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        page.locator("#strength input[type=range]").click(position={"x": 30, "y": 3})  # above the track
        assert float(page.input_value("#strength input[type=range]")) < 0.5
        assert page.get_by_role("slider", name="Noise samples", exact=True).count() == 1
        assert page.get_by_role("spinbutton", name="Noise samples", exact=True).count() == 1


def test_every_failure_clears_the_old_answer_and_says_why(visit, tmp_path):
    page = visit()
    for name in ("notes.txt", "damaged.jpg"):  # refused by the browser, and by the server
        (tmp_path / name).write_text("this is no photo")
        upload(page, EXAMPLES / "smile.jpg") if name == "notes.txt" else page.click("#example-smile")
        answered(page, "Positive expression")
        with page.expect_file_chooser() as chooser:
            page.click("#photo .source-selection button[aria-label='Upload file']")
        assert "Positive expression" in page.inner_text("#answer")  # until a photo is chosen
        chooser.value.set_files(tmp_path / name)
        answered(page, "could not be read as a photo")
        page.wait_for_function("() => !document.querySelector('#answer').innerText.includes('Positive')")
        page.wait_for_function("() => !document.querySelector('#landmarks img, #map img')")
        page.wait_for_selector("#photo-views", state="hidden")
        page.set_viewport_size(PHONE)
        page.wait_for_selector("#example-smile", state="visible")  # the next try is at hand
        page.wait_for_selector("#photo-views", state="hidden")
        page.set_viewport_size(DESKTOP)
    count_listed(page)
    page.click("#example-smile")
    answered(page, "Positive expression")
    wait_until_listed(page)  # what is lost then is the next photo's event
    page.context.set_offline(True)
    page.click("#example-cry")
    answered(page, "The page got no answer")
    assert "Positive" not in page.inner_text("#answer")
    page.context.set_offline(False)
    page.reload()
    page.wait_for_selector("#photo input[type=file]", state="attached")
    count_listed(page)
    page.click("#example-smile")
    wait_for_map(page)
    wait_until_listed(page)  # what is lost then is the checkpoint's event
    page.click("#settings button")
    chosen = page.input_value("#checkpoint input")
    page.click("#checkpoint input")
    page.context.set_offline(True)
    page.locator("[role=option]", has_text="infant-fer-vit").click()
    answered(page, "The page got no answer")
    page.wait_for_function("(chosen) => document.querySelector('#checkpoint input').value === chosen", arg=chosen)
    page.context.set_offline(False)


def test_a_failed_upload_is_said_where_the_file_was_chosen(visit, page_server, tmp_path):
    page = visit()
    page.click("#example-smile")
    answered(page, "Positive expression")
    page.route("**/upload?*", lambda route: route.fulfill(status=413))
    open_tab(page, "Several")
    page.set_input_files("#several-files", EXAMPLES / "cry.jpg")
    page.wait_for_selector(".several-fault >> text=cry.jpg: The photo is larger than 12 MB.")
    open_tab(page, "Clip")
    for size in (1000, 100 * 10**6 + 1):  # refused by the server, and by the browser
        with (tmp_path / f"{size}.mp4").open("wb") as clip:
            clip.truncate(size)
        page.set_input_files("#clip-file input[type=file]", tmp_path / f"{size}.mp4")
        page.wait_for_selector("#clip-preview >> text=The clip is larger than 100 MB.")
    assert len([url for url in page.requested if "/upload?" in url]) == 2
    assert "Positive expression" in page.text_content("#answer")
    open_tab(page, "Photo")
    upload(page, EXAMPLES / "cry.jpg")
    answered(page, "The photo is larger than 12 MB")
    page.unroute("**/upload?*")
    page.click("#example-smile")
    answered(page, "Positive expression")
    open_tab(page, "Several")
    field = page.evaluate("() => gradio_config.components.find((each) => each.props?.elem_id === 'several-photo').id")

    def lose(route):
        """Abort the list's own event: after any other that is lost, Gradio would send none."""
        lost = route.request.post_data_json["trigger_id"] == field
        return route.abort() if lost else route.continue_()

    page.route("**/queue/join*", lose)
    page.route("**/app_id*", lambda route: route.abort())  # Gradio does not connect again
    page.set_input_files("#several-files", EXAMPLES / "laugh.jpg")
    page.wait_for_selector(".several-fault >> text=laugh.jpg: The page got no answer.")
    assert "Positive expression" in page.text_content("#answer")
    for unread in page_server[1].rglob("laugh.jpg"):  # it goes after UNREAD_SECONDS; other tests look for what is left
        unread.unlink()


def test_the_live_camera_starts_with_one_click_and_records(visit):
    page = visit()
    open_tab(page, "Live")
    for count, button in enumerate(("#freeze", "#live-record"), start=1):
        page.click(button)
        page.wait_for_function(TOASTS, arg=["The camera is off. Start the camera first.", count])
    page.wait_for_selector(".toast-title >> text=Please note")  # Gradio says "Error"
    page.click("#live-start")
    page.wait_for_selector("#live-view img")
    page.click("#live-record")
    page.wait_for_selector("#live-reading >> text=/Recorded: [0-9]+ of 60 seconds/")
    with page.expect_download() as download:
        page.click("#live-save")
    head, *rows = Path(download.value.path()).read_text().splitlines()
    assert head == "time_s,verdict,label,positive,neutral,negative"
    assert rows[0] == "0.00,no face,,,,"  # the fake camera shows none
    first = picture(page, "live-view")
    page.wait_for_function("(old) => document.querySelector('#live-view img').src !== old", arg=first)
    assert page.evaluate(SEEN, "#live-reading h2")
    page.locator("#live-start").wait_for(state="hidden")  # it runs
    tracks = "() => document.querySelector('#camera video').srcObject.getVideoTracks()"
    first = page.evaluate(f"({tracks})()[0].id")
    page.locator("#live-facing label", has_text="Rear").click()
    page.wait_for_function(
        f"(old) => ({tracks})().some((each) => each.id !== old && each.readyState === 'live')", arg=first
    )
    assert page.evaluate(f"({tracks})().length") == 1  # the first camera has ended
    last = picture(page, "live-view")
    page.wait_for_function("(old) => document.querySelector('#live-view img').src !== old", arg=last)
    page.set_viewport_size(PHONE)
    page.wait_for_function(  # the layout follows the window's size a moment later
        """() => {
            const [front, rear] = [...document.querySelectorAll("#live-facing label")].map((each) => each.getBoundingClientRect());
            return front.y === rear.y && front.width + rear.width > 0.9 * innerWidth;
        }"""
    )


def test_the_page_speaks_the_language_of_the_browser(browser, page_server, tmp_path):
    context = browser.new_context(locale="de-AT", viewport=DESKTOP, permissions=["camera"])
    page = context.new_page()
    page.set_default_timeout(60 * SECONDS)
    page.goto(page_server[0])
    page.wait_for_selector("#photo input[type=file]", state="attached")
    upload(page, EXAMPLES / "cry.jpg")
    answered(page, "Negativer Ausdruck")
    assert page.inner_text("#page-head h1") == "Wie sieht der Ausdruck aus?"
    wait_for_german_map(page)
    live_last = sorted(page.get_by_role("tab").all(), key=lambda tab: tab.inner_text() == "Live")  # its camera goes on
    for tab in live_last:
        tab.click()
        page.evaluate(FADED_IN)
        if tab.inner_text() == "Live":
            page.click("#live-start")  # Gradio's own button is "Aufnehmen" here
            page.wait_for_selector("#live-view img")
        if tab.inner_text() == "Die Karte prüfen":
            page.locator("#cover-parts label", has_text="Mund").click()
            page.wait_for_selector("#cover-answer >> text=Abgedeckt (Mund)")
            page.click("#test-steady")
            page.wait_for_selector("#test-steady-result >> text=Rangkorrelation")
        assert english_in(page.inner_text("body"), "de") == set()
        names = "\n".join(page.evaluate(NAMES))
        assert english_in(names, "de") == set()
        assert "range slider" not in names
    assert page.evaluate("document.documentElement.lang") == "de"
    (tmp_path / "clip.mp4").write_bytes(b"no clip")
    page.get_by_role("tab", name="Clip").click()
    page.set_input_files("#clip-file input[type=file]", str(tmp_path / "clip.mp4"))
    page.wait_for_selector("text=Diese Datei konnte nicht als Videoclip gelesen werden.")
    context.close()


@pytest.mark.parametrize(("locale", "tabs"), [("it-IT", "Più foto"), ("da-DK", "Flere")])
def test_languages_that_gradio_lacks_are_spoken_too(browser, page_server, locale, tabs):
    context = browser.new_context(locale=locale, viewport=DESKTOP)
    page = context.new_page()
    page.goto(page_server[0])
    page.wait_for_selector("#photo input[type=file]", state="attached")
    for name in (tabs, "Video" if locale == "it-IT" else "Klip"):
        assert english_in(page.inner_text("body"), locale[:2]) == set()
        assert english_in("\n".join(page.evaluate(NAMES)), locale[:2]) == set()
        page.get_by_role("tab", name=name, exact=True).click()
        page.evaluate(FADED_IN)
    context.close()


def wait_for_german_map(page) -> None:
    page.wait_for_function("() => document.querySelector('#legend')?.innerText.includes('50 von 50')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_tab(browser, page_server, scheme):
    context = browser.new_context(viewport=DESKTOP, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(60 * SECONDS)
    page.goto(page_server[0])
    page.wait_for_selector("#photo input[type=file]", state="attached")
    upload(page, EXAMPLES / "cry.jpg")
    wait_for_map(page)
    page.add_script_tag(content=AXE.read_text())
    found = {}
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.evaluate(FADED_IN)
        assert tab.evaluate(CONTRAST) >= 4.5  # axe cannot tell, as a line lies below the words
        violations = page.evaluate(
            "async () => (await axe.run(document, {resultTypes: ['violations'], preload: false})).violations"
        )
        grave = [each for each in violations if each["impact"] in ("serious", "critical")]
        found[tab.inner_text()] = [(each["id"], each["nodes"][0]["html"][:120]) for each in grave]
    assert len(found) >= 4
    assert not any(found.values()), found
    context.close()


def smiling(visit):
    """Return a page whose photo is read, with its map, and no event under way."""
    page = visit()
    count_listed(page)
    page.click("#example-smile")
    wait_for_map(page)
    wait_until_listed(page)
    return page


def choose_no_photo(page, folder: Path) -> None:
    """Choose a file that the browser refuses."""
    (folder / "notes.txt").write_text("this is no photo")
    with page.expect_file_chooser() as chooser:
        page.click("#photo .source-selection button[aria-label='Upload file']")
    chooser.value.set_files(folder / "notes.txt")
    answered(page, "could not be read as a photo")


def test_after_a_refused_file_no_setting_brings_the_older_answer_back(visit, tmp_path):
    page = smiling(visit)
    page.click("#settings button")
    choose_no_photo(page, tmp_path)
    page.focus("#samples input[type=range]")
    with page.expect_response(
        lambda each: each.ok and "/queue/join" in each.url and "x-photo-gone" in each.request.headers
    ):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(1500)  # for what must not come
    assert "could not be read as a photo" in page.inner_text("#answer")
    assert page.locator("#map img").count() == 0


def test_a_file_that_is_refused_without_a_network_costs_nothing_else(visit, tmp_path):
    page = smiling(visit)
    page.evaluate("window.marker = 1")
    page.context.set_offline(True)
    choose_no_photo(page, tmp_path)
    page.context.set_offline(False)
    page.wait_for_timeout(1500)  # for a reload that must not come
    assert page.evaluate("window.marker") == 1
    assert page.locator("#tray .card").count() == 1


def test_a_photo_that_is_removed_while_it_is_read_does_not_come_back(visit):
    page = visit()
    with page.expect_response(lambda each: "/queue/join" in each.url):
        upload(page, EXAMPLES / "cry.jpg")
    with page.expect_request(lambda each: "/queue/join" in each.url and "x-photo-gone" in each.headers):
        page.click("#photo button[aria-label='Remove Image']")
    answered(page, "Choose a photo")
    page.wait_for_timeout(2000)  # for what must not come
    assert page.locator("#photo img, #map img").count() == 0
    assert "expression" not in page.inner_text("#answer")
