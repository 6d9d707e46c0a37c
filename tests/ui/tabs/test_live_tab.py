"""The Live tab in a real browser with a fake camera, and why there is none over plain HTTP."""

from tests.conftest import OTHER_NAME
from tests.ui.browser import IN_BROWSER, picture

pytestmark = IN_BROWSER


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
