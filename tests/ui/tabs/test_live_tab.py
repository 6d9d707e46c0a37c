"""The Live tab in a real browser with a fake camera, and why there is none over plain HTTP."""

import base64
import signal

from tests.conftest import EXAMPLES, OTHER_NAME
from tests.ui.browser import IN_BROWSER, open_tab, picture, upload
from tests.video.clips import encoded, placed, portrait

pytestmark = IN_BROWSER
# Lets the camera show a picture, whose data: URL is given.
CAMERA_SHOWS = """async (source) => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 480 });
    const draw = () => canvas.getContext("2d").drawImage(image, 80, 0, 480, 480);
    setInterval(draw, 50);
    navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(20);
}"""

# The browser asks for the camera until a function in `requests` is called.
ASKS_FOR_LONG = """(() => {
    const media = navigator.mediaDevices, real = media.getUserMedia.bind(media);
    window.requests = [];
    media.getUserMedia = async (wanted) => {
        await new Promise((allow) => requests.push(allow));
        return real(wanted);
    };
})()"""

# Count the frames that Gradio hands to `fetch`.
COUNTS_FRAMES = """() => {
    const send = window.fetch;
    window.frames = 0;
    window.fetch = (address, options) => { window.frames += /\\/stream\\//.test(String(address)); return send(address, options); };
}"""


def test_live_camera_switch_and_freeze(visit):
    page = visit()
    page.get_by_role("tab", name="Live").click()
    page.locator("#camera button:visible").first.click()  # access the camera
    page.locator("#camera button.capture-button:visible", has_text="Start camera").click()
    page.wait_for_selector("#live-view img")
    first = picture(page, "live-view")
    page.wait_for_function("(old) => document.querySelector('#live-view img').src !== old", arg=first)
    page.locator("#live-switch input").uncheck()
    page.wait_for_selector("text=Paused")
    wait_for_frames(page, 5)  # those under way when the switch was moved
    paused = picture(page, "live-view")
    wait_for_frames(page, 10)
    assert picture(page, "live-view") == paused
    page.locator("#live-switch input").check()
    page.wait_for_function("(old) => document.querySelector('#live-view img').src !== old", arg=paused)
    page.click("#freeze")
    page.wait_for_selector("#landmarks img", state="visible")
    assert page.get_by_role("tab", name="Photo").get_attribute("aria-selected") == "true"


def test_the_camera_starts_however_late_its_tab_and_the_permission_come(visit):
    page = visit()
    page.add_init_script(ASKS_FOR_LONG)
    page.reload()
    open_tab(page, "Live")
    page.locator("#camera button:visible").first.wait_for()
    page.clock.install()
    page.evaluate("() => { document.querySelector('#camera').style.display = 'none'; }")
    page.click("#live-start")
    page.wait_for_timeout(300)
    assert page.evaluate("requests.length") == 0  # nothing to ask with: the tab has been opened just now
    page.evaluate("() => { document.querySelector('#camera').style.display = ''; }")
    page.wait_for_function("() => requests.length === 1")
    page.dblclick("#live-start")  # a second camera would stay on after Stop
    page.clock.run_for(15_000)
    assert page.evaluate("requests.length") == 1
    page.evaluate("() => requests[0]()")
    page.wait_for_selector("#live-view img")
    page.locator("#live-start").wait_for(state="hidden")
    page.locator("#camera button.capture-button").click()  # Stop
    page.locator("#live-start").wait_for()
    page.wait_for_timeout(300)
    assert page.locator("#live-start").is_visible()  # nobody has started it again
    stopped = picture(page, "live-view")
    page.click("#live-start")
    page.wait_for_function("(old) => document.querySelector('#live-view img').src !== old", arg=stopped)
    page.locator("#live-start").wait_for(state="hidden")
    assert page.evaluate("requests.length") == 1


def test_frames_do_not_pile_up_before_a_busy_server(visit, page_server):
    page, process = visit(), page_server[2]
    page.evaluate(COUNTS_FRAMES)
    under_way = set()
    page.on("request", lambda request: under_way.add(request) if "/stream/" in request.url else None)
    page.on("response", lambda response: under_way.discard(response.request))
    open_tab(page, "Live")
    page.click("#live-start")
    page.wait_for_selector("#live-view img")
    process.send_signal(signal.SIGSTOP)
    try:
        page.wait_for_function("(before) => frames > before + 20", arg=page.evaluate("frames"))
        unanswered = len(under_way)
        open_tab(page, "Photo")
        upload(page, EXAMPLES / "cry.jpg")
    finally:
        process.send_signal(signal.SIGCONT)
    assert unanswered == 2
    page.wait_for_selector("#answer >> text=Negative expression")


def test_frames_of_the_camera_and_of_a_clip_enter_the_list(visit, tmp_path):
    page = visit()
    cry = placed([(portrait("cry"), 40, 20)])
    (tmp_path / "clip.webm").write_bytes(encoded([cry] * 10, "webm", "libvpx-vp9", options={"deadline": "realtime"}))
    open_tab(page, "Clip")
    page.set_input_files("#clip-file input[type=file]", tmp_path / "clip.webm")
    page.click("#clip-explain")
    page.wait_for_selector("#answer >> text=Negative expression")
    page.wait_for_selector("#tray .card", state="attached")
    smile = base64.b64encode((EXAMPLES / "smile.jpg").read_bytes()).decode()
    page.evaluate(CAMERA_SHOWS, f"data:image/jpeg;base64,{smile}")
    open_tab(page, "Live")
    page.click("#live-start")
    page.wait_for_selector("#live-reading >> text=Positive expression")
    page.click("#freeze")
    page.wait_for_selector("#answer >> text=Positive expression")
    page.wait_for_function("() => document.querySelectorAll('#tray .card').length === 2")
    words = page.locator("#tray .card").all_inner_texts()  # the newest first
    assert [each.split()[0] for each in words] == ["Positive", "Negative"]
    page.locator("#tray .card-open").last.click()  # there is no file of it: its answer is opened in the list
    page.wait_for_selector("#several-detail >> text=Negative expression")


def wait_for_frames(page, count: int) -> None:
    """Wait until the server has answered that many further webcam frames."""
    for _ in range(count):
        with page.expect_response(lambda response: "/stream/" in response.url):
            pass


def test_over_http_from_another_machine_the_page_says_why_there_is_no_camera(visit, page_server):
    page = visit(address=page_server[0].replace("127.0.0.1", OTHER_NAME))
    assert not page.evaluate("window.isSecureContext")
    words = page.locator("text=needs HTTPS or localhost")
    assert words.first.is_visible()
    assert not page.locator("#photo button[aria-label*=camera]").is_visible()
    page.get_by_role("tab", name="Live").click()
    words.last.wait_for(state="visible")
    assert not page.locator("#camera").is_visible()
    page = visit()
    assert page.locator("#photo button[aria-label*=camera]").is_visible()
    assert page.locator("text=needs HTTPS or localhost").first.is_hidden()
