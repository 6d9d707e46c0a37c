"""Fixtures every test file may use: the real pipeline on the embedded checkpoint, and a page served for real."""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve the browser on small machines

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
OTHER_NAME = "faces.example.org"  # a name of this computer that no browser takes for safe
ANSWER_SECONDS = 30.0  # that a test waits for an answer of a page: other work may share its computer
HANG_SECONDS = 240.0  # after which a program or a part of it hangs


SECONDS = {"slow": 8.0, "browser": 3.0}  # that a test with the marker takes on average; 0.3 without


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a module's tests on one worker of pytest-xdist, and all that visit `page_server` on the same one (`--dist loadgroup`).

    The longest groups come first (`--no-loadscope-reorder`), so that no worker has a long one left when the others are done.
    """
    group_of, seconds = {}, Counter()
    for item in items:
        group_of[item] = group = "page" if "page_server" in item.fixturenames else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
        seconds[group] += max([SECONDS[mark.name] for mark in item.iter_markers() if mark.name in SECONDS], default=0.3)
    items.sort(key=lambda item: (-seconds[group_of[item]], group_of[item]))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Stop if pytest-xdist has not taken the groups: each module's page or training would be started by every worker."""
    grouped = all("@" in item.nodeid for item in session.items)
    if session.config.getoption("loadgroup", False) and not grouped:
        raise pytest.UsageError("pytest-xdist has put no test into its group; see pytest in pyproject.toml.")


@pytest.fixture(scope="session")
def analyzer():
    """Return the real pipeline with the embedded checkpoint."""
    from infant_fer import Analyzer

    return Analyzer.from_pretrained()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """Return the folder of a tiny sound checkpoint, not to be altered."""
    from tests.tiny_checkpoints import save_tiny

    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """Return an adult's portrait, 512 × 512, NASA, public domain, from scikit-image."""
    from skimage import data

    return data.astronaut()


@contextmanager
def served(*arguments: str, **variables: str):
    """Start `python app.py` on a free port with a temp folder of its own; gives (url, temp folder, process).

    `variables` are added to its environment; its output is log.txt beside the temp folder.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.txt"
        temp = Path(folder) / "temp"
        temp.mkdir()
        environment = {**os.environ, "TMPDIR": str(temp), "PYTHONUNBUFFERED": "1", **variables}
        environment.pop("GRADIO_TEMP_DIR", None)
        command = [sys.executable, "app.py", "--port", str(free_port()), *arguments]
        with log.open("w") as stream:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        try:
            yield _url_when_ready(log, process), temp, process
        finally:
            process.terminate()
            process.wait(HANG_SECONDS)


def free_port() -> int:
    """Return a port of this computer that nothing serves."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return different ports of this computer that nothing serves."""
    import socket

    with ExitStack() as held:  # a released port may be chosen again
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _url_when_ready(log: Path, process: subprocess.Popen) -> str:
    start = time.monotonic()
    while time.monotonic() - start < HANG_SECONDS:
        text = log.read_text()
        if "The page is ready: " in text:
            return text.split("The page is ready: ")[1].split()[0]
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise AssertionError(f"The page did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def page_server():
    """Yield a running page that answers under OTHER_NAME too: (url, temp folder, process).

    Its end is a test, too: an upload that nobody reads goes with the program.
    """
    with served("--allow-host", OTHER_NAME) as (url, temp, process):
        yield url, temp, process
        upload_unread(url)
        process.terminate()
        assert process.wait(HANG_SECONDS) == 0
        assert list(temp.glob("infant-fer-uploads-*")) == []


def upload_unread(url: str) -> None:
    """Upload a file that no event reads."""
    import httpx

    files = {"files": ("photo.jpg", b"a photo nobody reads")}
    sent = httpx.post(f"{url}gradio_api/upload", files=files, trust_env=False, timeout=ANSWER_SECONDS)
    assert Path(sent.json()[0]).is_file()


@pytest.fixture(scope="session")
def two_faces_path() -> Path:
    """Return a rendered picture with two faces."""
    return EXAMPLES / "two_faces.jpg"
