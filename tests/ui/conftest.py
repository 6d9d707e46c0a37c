"""A busy page of a few events, and the fixtures of the tests in a real browser with a fake camera."""

import threading
from contextlib import suppress

import gradio as gr
import pytest

from infant_fer.ui.event_queue import GuardedBlocks
from tests.conftest import OTHER_NAME
from tests.ui.browser import CHROMIUM, DESKTOP, SECONDS


@pytest.fixture
def busy_page():
    """A page with a place for one event of `work`, which waits for `go`, a stream, and a function that waits apart."""
    go, running, most = threading.Event(), [0], [0]

    def work(words):
        running[0] += 1
        most[0] = max(most[0], running[0])
        assert go.wait(20)
        running[0] -= 1
        return words.upper()

    def wait_apart(words):
        with page.apart():
            assert go.wait(20)
        return words

    with GuardedBlocks(analytics_enabled=False) as page:
        text, picture = gr.Textbox(elem_id="words"), gr.Image(sources=["webcam"], streaming=True, elem_id="camera")
        gr.Button(elem_id="work").click(work, [text], [text], concurrency_id="work", concurrency_limit=2)
        gr.Button(elem_id="apart").click(wait_apart, [text], [text], concurrency_limit=1)
        picture.stream(lambda frame: "seen", [picture], [text], concurrency_limit=1, stream_every=0.1)
    page.go, page.most = go, most
    yield page
    go.set()
    page.close()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                "--disable-background-networking",
                f"--host-resolver-rules=MAP {OTHER_NAME} 127.0.0.1",
            ],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def context(browser):
    """Return one visitor's context: its pages share the cache, so that only the first one compiles the page's scripts."""
    return browser.new_context(permissions=["camera"], accept_downloads=True)


@pytest.fixture
def visit(context, page_server):
    """Open the page at a viewport; every request it makes is recorded in `page.requested`."""
    opened = []

    def go(viewport=DESKTOP, address=page_server[0]):
        page = context.new_page()
        opened.append(page)
        page.set_viewport_size(viewport)
        page.set_default_timeout(60 * SECONDS)
        page.requested = []
        page.faults = []
        page.events = []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda message: page.events.append(f"console: {message.text}"))
        page.on("requestfailed", lambda request: page.events.append(f"failed: {request.url} {request.failure}"))
        page.on("framenavigated", lambda frame: page.events.append(f"opened: {frame.url}"))
        page.goto(address)
        page.wait_for_selector("#photo input[type=file]", state="attached")
        return page

    yield go
    context.set_offline(False)
    for page in opened:
        print_state(page)
        page.close()


def print_state(page) -> None:
    """Print what a page showed last and what happened to it, which pytest shows of a test that failed."""
    print(*page.faults, *page.events[-20:], page.requested[-10:], sep="\n")
    with suppress(Exception):  # a page that has crashed
        print(page.locator("body").inner_text(timeout=5 * SECONDS))
