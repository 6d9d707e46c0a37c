"""A stranger at the tabs, over HTTP with a running page: other visitors' answers, clips and pictures that lie, odd values."""

import asyncio
import io
import json
import re
import zipfile

import httpx
import pytest

from benchmarks.visitors import LIMITS, Function, Visitor, page_function
from infant_fer.images import UNREADABLE
from infant_fer.ui.request_guard import NOT_UNDERSTOOD
from infant_fer.video.reading import NO_CLIP, NO_VIDEO
from tests.conftest import EXAMPLES
from tests.ui.attacks.test_privacy import files_in
from tests.video.clips import encoded, plain

pytestmark = pytest.mark.slow
PHOTO = (EXAMPLES / "smile.jpg").read_bytes()
NO_MORE = "This reading is no longer kept. Read the photo again."
PICTURE = {"path": "/etc/passwd", "orig_name": "../../x\n.mp4", "meta": {"_type": "gradio.FileData"}}


def visit(page_server, scenario):
    """Run an async function of an HTTP client at the page; nothing it uploaded may be left afterwards."""

    async def run():
        async with httpx.AsyncClient(base_url=page_server[0], timeout=90, trust_env=False, limits=LIMITS) as client:
            return await scenario(client)

    result = asyncio.run(run())
    assert files_in(page_server[1]) == []
    assert "Traceback" not in (page_server[1].parent / "log.txt").read_text()
    return result


def bomb(depth: int = 3) -> bytes:
    """Return a zip archive of zeros, packed `depth` times: a hundred megabytes in a few hundred bytes."""
    content = bytes(100 * 2**20)
    for _ in range(depth):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../clip.mp4", content)
        content = packed.getvalue()
    return content


def long_header() -> bytes:
    """Return an MP4 file whose header says that it has ten gigabytes."""
    return (
        b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom\x00\x00\x00\x01mdat"
        + (10**10).to_bytes(8, "big")
        + bytes(99)
    )


def large_frames() -> bytes:
    """Return a clip of one frame of 16,000 × 3,200 pixels: 51 megapixels in a few kilobytes."""
    return encoded(plain(1, (16000, 3200)), "avi", "mjpeg", pixels="yuvj420p")


@pytest.mark.parametrize("content", [bomb, long_header, large_frames, lambda: PHOTO])
def test_a_clip_that_lies_is_one_sentence(page_server, content):
    async def scenario(client) -> str:
        read = await page_function(client, "clip-file", "upload")
        visitor = Visitor(client)
        name = "../../../tmp/x\r\n<script>alert(1)</script>.mp4"
        clip = {**await visitor.upload(content()), "orig_name": name}
        return str(await visitor.run(read, clip))

    shown = visit(page_server, scenario)
    assert NO_CLIP in shown or NO_VIDEO in shown or "megapixels" in shown
    assert "<script" not in shown


def test_pictures_that_are_archives_are_refused_one_by_one(page_server):
    async def scenario(client) -> str:
        visitor = Visitor(client)
        files = [await visitor.upload(content) for content in (bomb(1), bomb(3), PHOTO)]
        joined = await client.post("gradio_api/call/analyze_batch", json={"data": [files]})
        return (await client.get(f"gradio_api/call/analyze_batch/{joined.json()['event_id']}")).text

    answer = visit(page_server, scenario)
    first, second, third = json.loads(answer.partition("data: ")[2])[0]
    assert first["error"] == second["error"] == UNREADABLE
    assert len(third["faces"]) == 1


def test_nobody_gets_the_answers_of_another_visitor(page_server):
    async def scenario(client) -> tuple[str, list[str]]:
        read = await page_function(client, "several-photo", "input")
        owner, stranger = Visitor(client), Visitor(client)
        await owner.run(read, await owner.upload(PHOTO), "ours.jpg")
        opened = await page_function(client, "several-open", "click")
        compared = await page_function(client, "several-compare", "click")
        own = str((await owner.run(opened, [1]))["data"])
        refused = [str((await stranger.run(opened, chosen))["error"]) for chosen in ([1], [2], [0])]
        refused.append(str((await stranger.run(compared, [1, 1]))["error"]))
        saved = await stranger.run(await page_function(client, "clip-save", "click"), "ELAN")
        return own, [*refused, str(saved["error"])]

    own, refused = visit(page_server, scenario)
    assert "expression" in own
    assert refused[:4] == [NO_MORE] * 4
    assert "expression" not in refused[4]


@pytest.mark.parametrize("value", [1e308, -(10**16), "../../etc/passwd", ["positive"] * 500, [{"a": []}] * 20])
def test_odd_values_at_every_tab_end_in_an_answer_or_one_sentence(page_server, value):
    async def scenario(client) -> list[str]:
        config = (await client.get("config")).json()
        names = {item["id"]: item["props"].get("elem_id") or "" for item in config["components"]}
        kinds = {item["id"]: item["type"] for item in config["components"]}
        visitor, faults = Visitor(client), []
        for function in config["dependencies"]:
            triggers = " ".join(names.get(target, "") for target, _ in function["targets"])
            if not function["backend_fn"] or not re.search(r"\b(several|clip|cover|test|lab)-", triggers):
                continue
            data = [PICTURE if kinds[each] in ("image", "file") else value for each in function["inputs"]]
            if data:
                output = await visitor.run(Function(function["id"], ()), *data)
                faults.append(output.get("error", ""))
        return faults

    faults = visit(page_server, scenario)
    assert len(faults) > 20
    assert {fault for fault in faults if fault} <= {NOT_UNDERSTOOD, NO_MORE} | {
        fault for fault in faults if re.fullmatch(r"[A-Z][^<>{}\[\]]{10,120}\.", fault)
    }
    assert visit(page_server, lambda client: client.get("/")).status_code == 200
