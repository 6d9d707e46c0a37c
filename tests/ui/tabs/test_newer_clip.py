"""A clip that is chosen while another is read takes its place at once; one that finds no place can be chosen again."""

from tests.ui.browser import IN_BROWSER, SECONDS
from tests.video.clips import encoded, plain

pytestmark = IN_BROWSER

# Note from now on what the tab shows: the name of the clip whose timeline it is, or how far the reading is.
NOTE_SHOWN = """() => {
    window.shown = [];
    new MutationObserver(() => {
        const view = document.querySelector("#clip-view"), timeline = view?.querySelector("iframe");
        const now = timeline ? timeline.srcdoc.match(/\\w+\\.mkv/)[0] : view?.innerText;
        if (now !== shown.at(-1)) shown.push(now);
    }).observe(document.querySelector("#clip-results"), { childList: true, subtree: true, characterData: true, attributes: true });
}"""


def test_a_newer_clip_ends_the_reading_of_the_older_one(visit, tmp_path):
    clips = {"long.mkv": range(0, 170_000, 100), "short.mkv": range(0, 500, 100)}
    for name, times in clips.items():
        (tmp_path / name).write_bytes(encoded(plain(len(times)), "matroska", times_ms=times))
    page = visit()
    page.get_by_role("tab", name="Clip").click()
    page.set_input_files("#clip-file input[type=file]", str(tmp_path / "long.mkv"))
    page.locator("#clip-view", has_text="s of the clip are read").wait_for()
    page.evaluate(NOTE_SHOWN)
    page.set_input_files("#clip-file input[type=file]", str(tmp_path / "short.mkv"))
    page.frame_locator("#clip-view iframe").get_by_text("short.mkv").first.wait_for()
    assert page.evaluate("infantFer.clip.name") == "short.mkv"
    page.wait_for_timeout(1.5 * SECONDS)  # a reading that goes on shows how far it is each half second
    shown = page.evaluate("shown")
    assert shown[-1] == "short.mkv"
    assert shown.count("short.mkv") == 1
    assert "long.mkv" not in shown
    assert page.faults == []


def test_a_clip_that_finds_no_place_says_so_and_can_be_chosen_again(visit, page_server, tmp_path):
    (tmp_path / "short.mkv").write_bytes(encoded(plain(5), "matroska", times_ms=range(0, 500, 100)))
    page = visit()
    page.get_by_role("tab", name="Clip").click()
    page.route("**/queue/join*", lambda route: route.fulfill(status=503, json={"detail": "full"}))
    page.set_input_files("#clip-file input[type=file]", str(tmp_path / "short.mkv"))
    page.get_by_text("The page is busy. Please try again in a few seconds.").wait_for()
    page.unroute("**/queue/join*")
    page.locator("#clip-view", has_text="Choose a clip or record one.").wait_for()
    page.set_input_files("#clip-file input[type=file]", str(tmp_path / "short.mkv"))
    page.wait_for_selector("#clip-view iframe")
    for unread in page_server[1].rglob("short.mkv"):  # it goes after UNREAD_SECONDS; other tests look for what is left
        unread.unlink()
    assert page.faults == []
