"""All attacks in one sequence: afterwards the page answers as before, nothing of them is left, and nothing left this computer."""

import asyncio
import json
import subprocess
import sys
import textwrap
import time

import httpx
import pytest

from benchmarks.attacks import attack, fuzz, fuzz_requests
from benchmarks.visitors import LIMITS, Visitor, page_function
from infant_fer.ui.request_guard import NOT_UNDERSTOOD
from tests.conftest import ANSWER_SECONDS, EXAMPLES, HANG_SECONDS, ROOT

pytestmark = pytest.mark.slow
PHOTO = (EXAMPLES / "smile.jpg").read_bytes()

# The page as app.py serves it, but that it can neither connect to another computer nor look one up. For each line of input
# it says in JSON what it keeps, and what it tried to reach; the numbers in it are the ages in seconds at which an upload that
# nobody reads goes, and at which an answer that nobody fetches and an idle session do.
WATCHED = textwrap.dedent(
    """
    import ipaddress, socket
    foreign = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo
    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not ipaddress.ip_address(address[0]).is_loopback:
            foreign.append(str(address))
            raise OSError("only loopback")
        return connect(self, address)
    socket.socket.connect = guarded
    def looked_up(host, *args, **kwargs):
        if host not in ("127.0.0.1", "localhost", "::1", None):
            foreign.append(str(host))
            raise OSError("only loopback")
        return look_up(host, *args, **kwargs)
    socket.getaddrinfo = looked_up

    import json, sys
    from pathlib import Path
    import psutil
    from infant_fer.ui import uploads
    uploads.SWEEP_SECONDS = 1
    with uploads.private_upload_folder() as folder:
        from infant_fer.checkpoints.registry import CheckpointRegistry, available_checkpoints
        from infant_fer.ui import event_queue, page as page_module
        from infant_fer.ui.compute import SharedAnalyzer
        from infant_fer.ui.server import launch
        from infant_fer.ui.sessions import SessionStore
        stores = []
        def store():
            stores.append(SessionStore())
            return stores[-1]
        page_module.SessionStore = store
        registry = CheckpointRegistry(available_checkpoints(), analyzer_class=SharedAnalyzer)
        page = page_module.build_page(registry, store(), [])
        launch(page, port=None, block=False)
        queue = page._queue
        for line in sys.stdin:
            uploads.UNREAD_SECONDS, seconds = map(float, line.split())
            event_queue.UNFETCHED_SECONDS = seconds
            for each in stores:
                each._idle_seconds = seconds
                each._forget_idle()
            print("STATE", json.dumps({
                "bytes of uploads": uploads.stored_bytes(Path(folder)),
                "sessions": sum(map(len, stores)),
                "component values": sum(len(state.config_values) for state in list(page.state_holder.session_data.values())),
                "waiting": len(queue._waiting()),
                "running": len(queue._running()),
                "unfetched": len(queue.pending_messages_per_session),
                "pending ids": len(queue.pending_event_ids_session),
                "events": len(queue.event_ids_to_events),
                "reached for": foreign,
                "memory": psutil.Process().memory_info().rss,
            }), flush=True)
        page.close()
    """
)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Yield (url, a function that returns what the page keeps, its log)."""
    log = tmp_path_factory.mktemp("watched") / "log.txt"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", WATCHED],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    url = next(line for line in process.stdout if "The page is ready" in line).split()[-1]

    def state(unread_seconds: float = 600.0, idle_seconds: float = 600.0) -> dict:
        process.stdin.write(f"{unread_seconds} {idle_seconds}\n")
        process.stdin.flush()
        return json.loads(next(line for line in process.stdout if line.startswith("STATE"))[6:])

    try:
        yield url, state, log
    finally:
        process.stdin.close()
        process.wait(HANG_SECONDS)


def left(state: dict) -> dict:
    return {name: count for name, count in state.items() if name != "memory" and count}


def wait_until_nothing_is_left(state) -> dict:
    """Wait until all is forgotten, once all visitors are gone; an upload may go as soon as no event is left that could read it."""
    end, now = time.monotonic() + HANG_SECONDS, state()
    while left(now) and time.monotonic() < end:
        time.sleep(0.2)
        now = state(1.0 if not now["waiting"] and not now["running"] else 600.0, idle_seconds=2.0)
    assert left(now) == {}
    return state()


def seconds_to_answer(url: str) -> float:
    """Return the least of five times, about 0.1 s on a computer with nothing else to do."""
    times = []
    for _ in range(5):
        began = time.monotonic()
        assert httpx.get(url, trust_env=False, timeout=ANSWER_SECONDS).status_code == 200
        times.append(time.monotonic() - began)
    return min(times)


async def visit(url: str, visitors: int = 8) -> None:
    """Use the page as it is meant: photos at the same time, a map of each."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=LIMITS) as client:
        show, draw = await page_function(client, "photo", "input"), await page_function(client, "samples", "release")

        async def one() -> None:
            visitor = Visitor(client)
            answer = await visitor.run(show, await visitor.upload(PHOTO))
            assert "error" not in answer, answer
            assert "error" not in await visitor.run(draw)

        await asyncio.gather(*(one() for _ in range(visitors)))


def test_after_all_attacks_the_page_is_as_before(watched):
    url, state, log = watched
    asyncio.run(visit(url))
    before, seconds_before = wait_until_nothing_is_left(state), seconds_to_answer(url)
    asyncio.run(attack(url, PHOTO))
    after = wait_until_nothing_is_left(state)
    assert seconds_to_answer(url) < 10 * seconds_before
    end = time.monotonic() + 30
    while after["memory"] > 1.2 * before["memory"]:  # free memory goes back to the system after some seconds
        assert time.monotonic() < end, (before["memory"], after["memory"])
        time.sleep(1)
        after = state()
    asyncio.run(visit(url, visitors=1))
    assert "Traceback" not in log.read_text()


def test_six_hundred_malformed_requests(watched):
    url, state, log = watched

    async def send() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=LIMITS) as client:
            return await fuzz(client, fuzz_requests(600, PHOTO))

    answers = asyncio.run(send())
    assert len(answers) == 600
    assert {answer.status_code for answer in answers} <= {200, 400, 404, 411, 413, 415, 422, 500, 503}
    assert {answer.json()["error"] for answer in answers if answer.status_code == 500} <= {NOT_UNDERSTOOD}
    for text in (log.read_text(), *(answer.text for answer in answers)):
        assert PHOTO[:40].hex() not in text
        assert "Traceback" not in text
    asyncio.run(visit(url, visitors=1))
    wait_until_nothing_is_left(state)


def test_no_connection_leaves_loopback(watched):
    """From the start of the page through the attacks to answers."""
    url, state, _ = watched
    asyncio.run(visit(url, visitors=1))
    assert state()["reached for"] == []
