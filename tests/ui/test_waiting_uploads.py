"""What becomes of the uploads of events that wait: kept until they are read, and deleted where the event ends before."""

import asyncio
import os
from pathlib import Path

from benchmarks.visitors import Visitor, page_function
from infant_fer.ui import event_queue
from infant_fer.ui.uploads import UNREAD_SECONDS, delete_unread
from tests.ui.test_event_queue import client_of, last_output
from tests.ui.test_sessions import wait_until


def test_a_newer_event_ends_the_older_ones_of_its_visitor_and_their_uploads(busy_page, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    stopped = []
    busy_page.newest_only("work", stopped.append)

    async def scenario() -> tuple[list, list[str], str]:
        async with await client_of(busy_page) as client:
            work, one, other = await page_function(client, "work", "click"), Visitor(client), Visitor(client)
            kept = tmp_path / "kept"
            kept.write_bytes(b"outside")
            await one.join(work, "runs")
            await asyncio.to_thread(wait_until, lambda: busy_page.most[0] == 1)
            files = [await one.upload(b"waits"), {"path": str(kept)}]
            await one.join(work, files)
            await other.join(work, "another visitor's")
            await one.join(work, "newest")
            left = [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()]
            busy_page.go.set()
            assert (await last_output(other))["data"] == ["ANOTHER VISITOR'S"]
            outputs = [message["output"] async for message in one.messages() if message["msg"] == "process_completed"]
            assert stopped == [one.session_hash, one.session_hash, other.session_hash, one.session_hash]
            return [each.get("data") for each in outputs], left, kept.read_text()

    assert asyncio.run(scenario()) == ([None, ["RUNS"], ["NEWEST"]], [], "outside")


def test_the_upload_of_an_event_that_waits_is_kept(busy_page, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(event_queue, "KEPT_SECONDS", 0.0)
    nested: list = []
    for _ in range(900):
        nested = [nested]

    async def scenario() -> None:
        async with await client_of(busy_page) as client:
            work, one = await page_function(client, "work", "click"), Visitor(client)
            await one.join(work, "runs")
            await asyncio.to_thread(wait_until, lambda: busy_page.most[0] == 1)
            waiting, unread = Path((await one.upload(b"waits"))["path"]), Path((await one.upload(b"unread"))["path"])
            await one.join(work, {"path": str(waiting)})
            await one.join(work, [{"path": "no\0path"}, nested])  # ends no sweep
            for file in (waiting, unread):
                os.utime(file, (1, 1))
            await asyncio.to_thread(wait_until, lambda: waiting.stat().st_mtime > 1)
            os.utime(waiting, (1, 1))
            await asyncio.to_thread(wait_until, lambda: waiting.stat().st_mtime > 1)
            delete_unread(tmp_path, UNREAD_SECONDS)
            assert (waiting.exists(), unread.exists()) == (True, False)

    asyncio.run(scenario())


def test_who_leaves_takes_the_uploads_of_waiting_events_along(busy_page, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    async def scenario() -> None:
        async with await client_of(busy_page) as client:
            work, one, other = await page_function(client, "work", "click"), Visitor(client), Visitor(client)
            for visitor in (one, other):
                await visitor.join(work, "runs")
            await asyncio.to_thread(wait_until, lambda: busy_page.most[0] == 2)
            of_one, of_other = await one.upload(b"one"), await other.upload(b"other")
            await one.join(work, of_one)
            await other.join(work, of_other)
            answers = one.messages()
            await anext(answers)
            assert Path(of_one["path"]).exists()
            await answers.aclose()
            await asyncio.to_thread(wait_until, lambda: not Path(of_one["path"]).exists())
            assert Path(of_other["path"]).exists()

    asyncio.run(scenario())
