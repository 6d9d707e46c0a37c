"""The stream of answers that the page keeps open while an event waits; in a real browser."""

import json
import re

import pytest

from infant_fer.ui.style import page_file
from tests.conftest import EXAMPLES
from tests.ui.browser import IN_BROWSER, count_listed, upload, wait_for_map, wait_until_listed

pytestmark = IN_BROWSER

# Count the streams of answers that are open. While `holding`, hold back what ends one, as a busy browser may, until `release`
# is called; then `release` is gone.
HOLD_ENDS = """
() => {
    const send = window.fetch;
    window.open_streams = 0;
    window.fetch = async (address, options) => {
        const response = await send(address, options);
        if (!String(address?.url || address).includes("/queue/data")) return response;
        open_streams += 1;
        const late = new TransformStream({
            async transform(chunk, controller) {
                for (const event of new TextDecoder().decode(chunk).split(/(?<=\\n\\n)/)) {
                    const ends = event.includes("close_stream");
                    if (window.holding && ends)
                        await new Promise((resolve) => { window.release = () => { delete window.release; resolve(); }; });
                    if (ends) open_streams -= 1;
                    controller.enqueue(new TextEncoder().encode(event));
                }
            },
        });
        return new Response(response.body.pipeThrough(late), response);
    };
}
"""


def test_an_event_that_begins_while_the_stream_of_answers_ends_is_answered(visit):
    page = visit()
    page.add_init_script(f"({HOLD_ENDS})()")
    page.reload()
    page.wait_for_selector("#photo input[type=file]", state="attached")
    count_listed(page)
    upload(page, EXAMPLES / "pout.jpg")
    wait_for_map(page)
    wait_until_listed(page)
    page.click("#settings button")
    page.focus("#samples input[type=range]")
    page.wait_for_function("() => open_streams === 0 && (window.holding = true)")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => window.release")
    page.wait_for_function("() => document.querySelector('#legend').innerText.includes('55 of 55 samples')")
    with page.expect_response(lambda each: "/queue/join" in each.url and each.request.post_data_json["data"]):
        page.keyboard.press("ArrowRight")
    page.evaluate("() => { window.holding = false; release(); }")
    page.wait_for_function("() => document.querySelector('#legend').innerText.includes('60 of 60 samples')")
    assert page.faults == []


# A server in the browser: `join` sends an event and returns its id, `open` fetches a stream and returns what arrives of it.
SERVER = """
() => {
    window.streams = [];
    window.cancelled = [];
    window.fetch = async (address, options) => {
        if (address.includes("/cancel")) cancelled.push(JSON.parse(options.body).event_id);
        if (address.includes("/queue/join")) await window.held;
        if (!address.includes("/queue/data")) return Response.json({ event_id: address.split("=")[1] });
        return new Response(new ReadableStream({ start: (controller) => { streams.push(controller); } }));
    };
    const post = async (address, content) => (await fetch(address, { method: "POST", body: JSON.stringify(content) })).json();
    window.join = (id) => post(`/queue/join?id=${id}`, { fn_index: 3 });
    window.cancel = (event_id) => post("/cancel", { event_id, fn_index: 3 });
    window.open = async () => {
        const arrived = [], reader = (await fetch("/queue/data?session_hash=1")).body.pipeThrough(new TextDecoderStream()).getReader();
        const read = async () => {
            for (let each = await reader.read(); !each.done; each = await reader.read()) arrived.push(each.value);
        };
        const stream = { text: () => arrived.join(""), ended: false };
        read().then(() => { stream.ended = true; });
        return stream;
    };
    window.send = (stream, text, bytes = 7) => {
        const all = new TextEncoder().encode(text);
        for (let at = 0; at < all.length; at += bytes) streams[stream].enqueue(all.slice(at, at + bytes));
    };
    window.step = (id) => `data: {"msg":"process_generating","event_id":"${id}","output":"é"}\\n\\n`;
    window.answer = (id) => `data: {"msg":"process_completed","event_id":"${id}","output":"é"}\\n\\n`;
    window.END = 'data: {"msg":"close_stream","event_id":null}\\n\\n';
    window.until = async (ready) => {
        for (const begun = Date.now(); !ready(); await new Promise((resolve) => setTimeout(resolve, 5)))
            if (Date.now() - begun > 20_000) throw new Error(`not within 20 seconds: ${ready}`);
    };
}
"""


@pytest.fixture
def scripted(context):
    """Return an empty page with answer_stream.js between it and the server in the browser."""
    page = context.new_page()
    page.evaluate(SERVER)
    page.evaluate(f"() => {{ {page_file('answer_stream.js')} }}")
    yield page
    page.close()


def test_the_stream_goes_on_where_it_ends_before_an_event_that_waits_for_its_answer(scripted):
    text, requests = scripted.evaluate(
        """async () => {
            await join("a");
            const stream = await open();
            send(0, answer("a"));
            await until(() => stream.text().includes('"a"'));
            await join("b");
            send(0, END);
            streams[0].close();
            await until(() => streams.length === 2);
            send(1, answer("b") + END);
            streams[1].close();
            await until(() => stream.ended);
            return [stream.text(), streams.length];
        }"""
    )
    assert re.findall(r'"event_id":"?(\w+)', text) == ["a", "b", "null"]
    assert text.count("close_stream") == 1
    assert text.count("é") == 2
    assert requests == 2


def test_the_stream_ends_where_an_answer_came_before_the_id_of_its_event(scripted):
    text, requests = scripted.evaluate(
        """async () => {
            await join("a");
            const stream = await open();
            send(0, answer("b"));
            await until(() => stream.text().includes('"b"'));
            await join("b");
            send(0, answer("a") + END, 1000);
            streams[0].close();
            await until(() => stream.ended);
            return [stream.text(), streams.length];
        }"""
    )
    assert text.endswith('data: {"msg":"close_stream","event_id":null}\n\n')
    assert requests == 1


def test_a_stream_for_which_no_event_waits_ends_at_once(scripted):
    """It would stay open, and Gradio's page would send the next events without asking for their answers."""
    text, requests = scripted.evaluate(
        """async () => {
            await join("a");
            const stream = await open();
            send(0, answer("b") + answer("a") + END, 1000);
            await until(() => stream.text().includes("close_stream"));
            await join("b");
            const second = await open();
            await until(() => second.ended);
            return [second.text(), streams.length];
        }"""
    )
    assert text == 'data: {"msg":"close_stream","event_id":null}\n\n'
    assert requests == 1


def test_what_was_on_its_way_when_an_event_was_cancelled_is_left_out(scripted):
    texts, cancelled = scripted.evaluate(
        """async () => {
            await join("a");
            const stream = await open();
            send(0, step("a"));
            await until(() => stream.text().includes("é"));
            const before = stream.text();
            await cancel("a");
            send(0, step("a") + answer("a") + END);
            streams[0].close();
            await until(() => stream.ended);
            return [[before, stream.text()], cancelled];
        }"""
    )
    messages = [json.loads(each.removeprefix("data: ")) for each in texts[1].split("\n\n")[:-1]]
    assert texts[1].startswith(texts[0])
    assert [(each["msg"], each.get("output")) for each in messages] == [
        ("process_generating", "é"),
        ("process_completed", {}),
        ("close_stream", None),
    ]
    assert cancelled == ["a"]


def test_an_event_that_is_cancelled_before_its_id_is_known_is_cancelled(scripted):
    text, cancelled = scripted.evaluate(
        """async () => {
            let release;
            held = new Promise((resolve) => { release = resolve; });
            const joined = join("a"), over = cancel(null);
            await new Promise((resolve) => setTimeout(resolve, 50));
            const early = [...cancelled];
            release();
            await joined;
            await over;
            const stream = await open();
            send(0, step("a") + answer("a") + END);
            streams[0].close();
            await until(() => stream.ended);
            await cancel(null);  // nothing is under way: it is sent as it is
            return [stream.text(), [early, cancelled]];
        }"""
    )
    assert "é" not in text
    assert cancelled == [[], ["a", None]]
