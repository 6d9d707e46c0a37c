"""What the page does when an answer comes late, or never; in a real browser."""

from tests.conftest import EXAMPLES
from tests.ui.browser import IN_BROWSER, count_listed, open_tab, picture, wait_for_map, wait_until_listed

pytestmark = IN_BROWSER
PATIENCE_MS = 120_000  # of several.js


def held_events(page, name: str) -> list:
    """Return a list of the events of the component `name` that the page sends from now on; each waits there for `continue_`."""
    field = page.evaluate(
        "(name) => gradio_config.components.find((each) => each.props?.elem_id === name).id", arg=name
    )
    held = []
    page.route(
        "**/queue/join*",
        lambda route: held.append(route) if route.request.post_data_json["trigger_id"] == field else route.continue_(),
    )
    return held


def test_an_answer_that_comes_late_belongs_to_its_own_photo(visit, page_server):
    page = visit()
    open_tab(page, "Several")
    held = held_events(page, "several-photo")
    page.clock.install()
    with page.expect_request("**/queue/join*"):
        page.set_input_files("#several-files", [EXAMPLES / "smile.jpg", EXAMPLES / "cry.jpg"])
    page.clock.fast_forward(PATIENCE_MS)
    page.wait_for_selector(".several-fault >> text=smile.jpg: The page got no answer.")
    with page.expect_request("**/queue/join*"):
        page.clock.fast_forward(2_000)
    held[0].continue_()
    page.wait_for_selector(".several-grid .card")
    assert page.inner_text(".several-fault") == ""
    held[1].continue_()
    page.wait_for_function("() => document.querySelectorAll('.several-grid .card').length === 2")
    page.wait_for_selector(".several-progress", state="hidden")
    open_tab(page, "Photo")
    for name, words in (("smile", "Positive"), ("cry", "Negative")):  # the file behind each card is its own
        page.click(f"#tray .card-open[aria-label*='{name}.jpg']")
        page.wait_for_selector(f"#answer >> text={words} expression")
    open_tab(page, "Several")
    page.unroute("**/queue/join*")
    an_upload_that_is_like_no_file_is_the_one_under_way(page)
    a_lost_event_is_that_of_its_own_photo(page)
    for unread in page_server[1].rglob("*.jpg"):  # they go after UNREAD_SECONDS; other tests look for what is left
        unread.unlink()


def an_upload_that_is_like_no_file_is_the_one_under_way(page) -> None:
    page.evaluate("() => { window.same = infantFer.same; infantFer.same = () => false; }")
    page.set_input_files("#several-files", EXAMPLES / "laugh.jpg")
    page.wait_for_selector(".several-grid .card >> text=laugh.jpg")
    page.wait_for_selector(".several-progress", state="hidden")
    page.evaluate("() => { infantFer.same = window.same; }")


def a_lost_event_is_that_of_its_own_photo(page) -> None:
    """Three are under way, the first two given up: the second one's event is lost, and then the third one's."""
    held = held_events(page, "several-photo")
    page.route("**/app_id*", lambda route: route.abort())  # Gradio does not connect again
    with page.expect_request("**/queue/join*"):
        page.set_input_files("#several-files", [EXAMPLES / f"{name}.jpg" for name in ("neutral", "laugh", "pout")])
    for _ in range(2):
        page.clock.fast_forward(PATIENCE_MS)
        with page.expect_request("**/queue/join*"):
            page.clock.fast_forward(2_000)
    held[1].abort()
    page.wait_for_selector(".toast-body >> text=The connection was lost.")
    assert page.inner_text(".several-fault").startswith("neutral.jpg, laugh.jpg: ")
    held[2].abort()
    page.wait_for_selector(".several-fault >> text=neutral.jpg, laugh.jpg, pout.jpg: The page got no answer.")


def test_a_lost_connection_is_said_and_no_older_answer_stays_beside_a_newer_photo(visit):
    page = visit()
    count_listed(page)
    page.click("#example-smile")
    page.wait_for_selector("#answer >> text=Positive expression")
    wait_until_listed(page)  # the event to lose is the next one
    page.route("**/queue/data*", lambda route: route.abort())  # the event gets there, and its answer does not come back
    page.route("**/app_id*", lambda route: route.abort())
    page.click("#example-cry")
    page.wait_for_selector(".toast-body >> text=The connection was lost. Reload the page.")
    assert "The page got no answer" in page.inner_text("#answer")
    assert "Positive" not in page.inner_text("#answer")
    page.unroute("**/queue/data*")
    with page.expect_navigation():  # Gradio reloads the page
        page.unroute("**/app_id*")
    page.wait_for_selector("#answer .waiting >> text=the page was reloaded. What was on it is gone")
    count_listed(page)
    page.click("#example-cry")
    page.wait_for_selector("#answer >> text=Negative expression")
    assert page.evaluate("history.state") is None  # the next reload is the visitor's own
    wait_until_listed(page)
    an_answer_that_came_stays_when_the_next_event_is_lost(page)


def an_answer_that_came_stays_when_the_next_event_is_lost(page) -> None:
    def lose_what_follows(route) -> None:
        follows = "event_data" in route.request.post_data_json  # the end of another event: the answer has come
        route.abort() if follows else route.continue_()

    page.route("**/queue/join*", lose_what_follows)
    page.route("**/app_id*", lambda route: route.abort())
    page.click("#example-cry")  # the same words as before
    page.wait_for_selector(".toast-body >> text=The connection was lost. Reload the page.")
    assert "Negative expression" in page.inner_text("#answer")
    assert picture(page, "photo").startswith("data:image/jpeg;base64,")
    page.click("#example-smile")  # Gradio sends nothing any more
    page.wait_for_selector("#answer >> text=The page got no answer")
    assert "Negative" not in page.inner_text("#answer")


def test_a_map_that_fails_leaves_no_older_one(visit):
    page = visit()
    count_listed(page)
    page.click("#example-smile")
    wait_for_map(page)
    wait_until_listed(page)
    page.route("**/queue/join*", lambda route: route.fulfill(status=503, json={"detail": "Full."}))
    page.click("#settings button")
    page.focus("#samples input[type=range]")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#legend >> text=The map could not be drawn")
    page.locator("#map img").wait_for(state="detached")
    assert "Positive expression" in page.inner_text("#answer")
