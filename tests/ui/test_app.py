"""`python app.py`: what it says when it cannot start, and how it ends."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from benchmarks.visitors import Visitor, page_function
from tests.conftest import EXAMPLES, ROOT, served


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        yield busy.getsockname()[1]


@pytest.mark.parametrize("port_given", ["busy", 99999])
def test_a_port_that_cannot_be_served_gives_one_sentence(busy_port, port_given):
    port = busy_port if port_given == "busy" else port_given
    command = [sys.executable, "app.py", "--port", str(port)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert f"127.0.0.1:{port}: choose a free port with --port." in run.stderr
    assert "Traceback" not in run.stderr


async def begin_a_map(url: str) -> None:
    """Show a photo, ask for its map, and return when the first part of it has come."""
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
        show, draw = await page_function(client, "photo", "input"), await page_function(client, "samples", "release")
        visitor = Visitor(client)
        await visitor.run(show, await visitor.upload((EXAMPLES / "smile.jpg").read_bytes()))
        await visitor.join(draw)
        async for message in visitor.messages():
            if message["msg"] == "process_generating":
                return


@pytest.mark.slow
def test_the_program_ends_in_order_while_it_computes_a_map():
    """Torch aborts a program that ends while one of its threads computes."""
    with served() as (url, temp, process):
        asyncio.run(begin_a_map(url))
        process.terminate()
        assert process.wait(60) == 0
        assert "terminate called" not in (temp.parent / "log.txt").read_text()
        assert list(temp.glob("infant-fer-uploads-*")) == []
