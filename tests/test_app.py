"""`python app.py`: what it says when it cannot start."""

import socket
import subprocess
import sys

from tests.conftest import ROOT


def test_a_busy_port_is_told_in_one_sentence():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        run = subprocess.run(
            [sys.executable, "app.py", "--port", str(port)], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
    assert run.returncode == 1
    assert f"127.0.0.1:{port}: choose a free port with --port." in run.stderr
    assert "Traceback" not in run.stderr
