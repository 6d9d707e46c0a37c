"""`python app.py`: what it says when it cannot start."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT


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
