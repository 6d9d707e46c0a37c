"""Strangers' requests to a running page: what is closed stays closed, nothing sent is quoted, and the page goes on."""

import base64
import json
import re
import signal
import socket
from pathlib import Path

import gradio as gr
import httpx
import pytest

from infant_fer.images import MAX_BYTES
from infant_fer.ui.request_guard import TOTAL_BYTES, allowed_hosts, host_name, log_failure, path_below_root
from infant_fer.ui.uploads import CLIP_BYTES
from tests.conftest import EXAMPLES, served

PHOTO = base64.b64encode((EXAMPLES / "smile.jpg").read_bytes()).decode()
PIECES = [PHOTO[start : start + 40] for start in range(0, 400, 40)] + ["smile.jpg"]
AS_URL = {"url": f"data:image/jpeg;base64,{PHOTO}", "path": None, "meta": {"_type": "gradio.FileData"}}
DEAD_PROXY = "http://127.0.0.1:9"
PROXIES = {name: DEAD_PROXY for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy")}
client = httpx.Client(trust_env=False, timeout=60)


pytestmark = pytest.mark.slow  # each module starts a page of its own


@pytest.fixture(scope="module")
def server():
    """A page behind a reverse proxy's root path, started with an HTTP proxy in its environment: (url, log, temp, pid)."""
    with served("--allow-host", "faces.example.org", GRADIO_ROOT_PATH="/faces", **PROXIES) as (url, temp, process):
        yield url, temp.parent / "log.txt", temp, process


def post(url: str, path: str, body, **options) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **options.pop("headers", {})}
    return client.post(url + path, content=content, headers=headers, **options)


def analyze(url: str, data: list) -> str:
    started = post(url, "gradio_api/call/analyze", {"data": data})
    if started.status_code != 200:
        return started.text
    return client.get(f"{url}gradio_api/call/analyze/{started.json()['event_id']}").text


def functions(url: str) -> list[dict]:
    return client.get(f"{url}config").json()["dependencies"]


def assert_nothing_quoted(log: Path, *answers: str) -> None:
    for text in (log.read_text(), *answers):
        assert not [piece for piece in PIECES if piece in text]
        assert "Traceback" not in text


def test_a_photo_alone_is_enough(server):
    assert '"faces"' in analyze(server[0], [AS_URL])


@pytest.mark.parametrize(
    "data",
    [
        [],
        [None],
        [PHOTO],
        [[PHOTO]],
        [{"url": PHOTO}],
        [{**AS_URL, "path": 5}],
        [{**AS_URL, "meta": PHOTO}],
        [AS_URL, AS_URL],
        [AS_URL, 7],
        [AS_URL, PHOTO],
        [AS_URL, None, PHOTO],
        [{"url": f"data:image/jpeg;base64,{PHOTO[:999]}", "path": None, "meta": {"_type": "gradio.FileData"}}],
        [{"image_base64": PHOTO}],
        [{"path": f"smile.jpg{PHOTO[:99]}", "meta": {"_type": "gradio.FileData"}}],
    ],
)
def test_a_malformed_photo_is_quoted_neither_in_the_log_nor_in_the_answer(server, data):
    answer = analyze(server[0], data)
    assert "faces" not in answer
    assert_nothing_quoted(server[1], answer)


def test_malformed_requests_to_every_function_are_quoted_nowhere(server):
    url, log = server[:2]
    answers = []
    for function in functions(url):
        for data in ([AS_URL], [PHOTO] * 9, []):
            body = {"data": data, "fn_index": function["id"], "session_hash": "attacker1"}
            answers.append(post(url, "gradio_api/queue/join", body).text)
            answers.append(post(url, "gradio_api/run/predict", body).text)
    with client.stream("GET", f"{url}gradio_api/queue/data?session_hash=attacker1") as events:
        for text in events.iter_text():
            answers.append(text)
            if "close_stream" in text:
                break
    assert_nothing_quoted(log, *(answer for answer in answers if "data:image" not in answer))
    assert '"faces"' in analyze(url, [AS_URL])


@pytest.mark.parametrize("session_hash", ["", "../x", "a b", "x" * 65, 5, ["a"], {"a": 1}])
def test_a_malformed_session_is_refused_and_the_queue_goes_on(server, session_hash):
    url = server[0]
    body = {"data": [None] * 6, "fn_index": 0, "session_hash": session_hash}
    for path in ("queue/join", "call/analyze", "run/predict", "cancel"):
        assert post(url, f"gradio_api/{path}", body).status_code == 400
    assert '"faces"' in analyze(url, [AS_URL])


def test_functions_of_the_queue_cannot_be_called_past_it(server):
    url = server[0]
    assert post(url, "gradio_api/run/analyze", {"data": [AS_URL, None]}).status_code == 404
    assert post(url, "gradio_api/api/analyze", {"data": [AS_URL, None]}).status_code == 404
    for function in functions(url):
        if function["queue"] and function["backend_fn"]:
            body = {"data": [AS_URL], "fn_index": function["id"], "session_hash": "attacker2"}
            assert post(url, "gradio_api/run/predict", body).status_code == 404


CLOSED = (
    "gradio_api/file=/etc/passwd",
    "gradio_api/file/etc/passwd",
    "gradio_api/FILE=/etc/passwd",
    "gradio_api//file=/etc/passwd",
    "gradio_api/./file=/etc/passwd",
    "gradio_api/%66ile=/etc/passwd",
    "gradio_api%2ffile=/etc/passwd",
    "gradio_api/proxy=http://127.0.0.1:9/",
    "gradio_api/deep_link?session_hash=a",
    "gradio_api/component_server",
    "gradio_api/component_server/",
    "gradio_api/process_recording",
    "gradio_api/custom_component/a/b/c/d",
    "gradio_api/stream/a/0/1/playlist.m3u8",
    "gradio_api/run-history/records",
    "gradio_api/runs",
    "gradio_api/dev/reload",
    "gradio_api/vibe-code/",
    "gradio_api/openapi.json",
    "gradio_api/token",
    "monitoring",
    "monitoring/summary",
    "docs",
    "openapi.json",
    "login",
)


@pytest.mark.parametrize("root", ["", "faces/", "faces/faces/"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"])
def test_routes_the_page_does_not_use_are_closed(server, method, root):
    for path in CLOSED:
        request = client.build_request(method, server[0] + root + path, headers={"content-length": "0"})
        answer = client.send(request)
        assert answer.status_code == 404, path
        assert answer.content[:2] != b"\xff\xd8"


def test_the_page_itself_is_open_below_the_root_path_and_without_it(server):
    for root in ("", "faces/"):
        assert client.get(f"{server[0]}{root}config").status_code == 200


def test_the_root_path_is_removed_as_the_router_does():
    for path, root, rest in (
        ("/a", "", "/a"),
        ("/faces/a", "/faces", "/a"),
        ("/facesa", "/faces", "/facesa"),
        ("/faces", "/faces", ""),
        ("/a", "https://example.org/faces", "/a"),
    ):
        assert path_below_root({"path": path, "root_path": root}) == rest


def test_sizes_are_checked_before_the_body_is_read(server):
    url = server[0]
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    for path, content_type in (("upload", "multipart/form-data; boundary=a"), ("call/analyze", "application/json")):
        for length, status in ((f"content-length: {2 * CLIP_BYTES}", b"413"), ("transfer-encoding: chunked", b"411")):
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                head = f"POST /gradio_api/{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {content_type}\r\n{length}\r\n\r\n"
                connection.sendall(head.encode())
                assert connection.recv(100).split()[1] == status


def test_an_upload_that_breaks_off_leaves_at_most_a_line_in_the_log(server):
    url, log = server[:2]
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    before = log.read_text()
    head = f"POST /gradio_api/upload HTTP/1.1\r\nhost: {host}\r\ncontent-type: multipart/form-data; boundary=a\r\n"
    part = '--a\r\ncontent-disposition: form-data; name="files"; filename="smile.jpg"\r\n\r\n' + PHOTO[:400]
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"{head}content-length: 100000\r\n\r\n{part}".encode())
    assert '"faces"' in analyze(url, [AS_URL])
    added = log.read_text().removeprefix(before)
    assert len(added.splitlines()) <= 1
    assert_nothing_quoted(log)


def test_the_page_answers_under_its_own_names_only(server):
    url = server[0]
    for name, status in (
        ("evil.example.com", 421),
        ("127.0.0.1.evil.example.com", 421),
        ("localhost", 200),
        ("faces.example.org:443", 200),
    ):
        assert client.get(f"{url}config", headers={"host": name}).status_code == status, name


def test_another_site_cannot_send_photos_here(server):
    url = server[0]
    for headers in ({"origin": "https://evil.example.com"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        files = {"files": ("smile.jpg", b"a photo")}
        assert client.post(f"{url}gradio_api/upload", files=files, headers=headers).status_code == 403
        assert post(url, "gradio_api/call/analyze", {"data": [AS_URL]}, headers=headers).status_code == 403
    assert post(url, "gradio_api/call/analyze", {"data": []}, headers={"content-type": "text/plain"}).status_code == 415
    assert (
        client.post(f"{url}gradio_api/upload", content=b"a photo", headers={"content-type": "image/jpeg"}).status_code
        == 415
    )
    assert not list(server[2].rglob("*.jpg"))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nan", b"{" * 100_000, b'{"data": [NaN]}', b'{"data": [-Infinity]}', b"\xff"]
)
def test_what_is_no_sound_json_is_refused(server, body):
    assert post(server[0], "gradio_api/call/analyze", body).status_code == 400


def test_names_a_page_may_be_opened_by():
    assert allowed_hosts("127.0.0.1", ["Faces.Example.org:443"])[0] >= {"localhost", "::1", "faces.example.org"}
    assert allowed_hosts("0.0.0.0")[1]
    assert not allowed_hosts("192.0.2.1")[1]
    assert [host_name(name) for name in ("A.b:80", "[::1]:80", "::1", "a/b", "a@b")] == ["a.b", "::1", "::1", "", ""]


def upload(url: str, content: bytes) -> httpx.Response:
    return client.post(f"{url}gradio_api/upload", files={"files": ("photo.jpg", content)})


def test_more_photos_than_a_request_may_have_are_deleted_undecoded(server, monkeypatch):
    from infant_fer.ui import private_image

    monkeypatch.setattr(private_image, "load_photo", lambda *_: pytest.fail("a photo was decoded"))
    photos = private_image.PrivateImages(label="photos")
    payload = photos.data_model.model_validate([{**AS_URL, "path": "photo.jpg"}] * (private_image.MAX_TOGETHER + 1))
    with pytest.raises(gr.Error, match="at most 16 photos"):
        photos.preprocess(payload)
    url, temp = server[0], server[2]
    paths = [{"path": upload(url, b"no photo").json()[0], "meta": AS_URL["meta"]} for _ in range(17)]
    started = post(url, "gradio_api/call/analyze_batch", {"data": [paths]})
    answer = client.get(f"{url}gradio_api/call/analyze_batch/{started.json()['event_id']}").text
    assert "at most 16 photos" in answer
    assert not list(temp.rglob("photo.jpg"))


def test_uploads_of_a_killed_program_go_at_the_next_start_and_those_of_a_living_one_stay(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, time; from infant_fer.ui.uploads import private_upload_folder\n"
        "with private_upload_folder() as folder:\n"
        "    open(folder + '/photo.jpg', 'w').close(); print(folder, flush=True); sys.stdin.read()"
    )

    def start() -> tuple[subprocess.Popen, Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"TMPDIR": str(tmp_path), "PATH": ""},
            cwd=EXAMPLES.parent,
        )
        return process, Path(process.stdout.readline().strip())

    killed, left = start()
    living, kept = start()
    assert left.parent == tmp_path
    killed.kill()
    killed.wait(20)
    assert (left / "photo.jpg").exists()
    third, _ = start()
    assert not left.exists()
    assert (kept / "photo.jpg").exists()
    for process in (living, third):
        process.communicate("", timeout=20)
    assert list(tmp_path.iterdir()) == []


def test_log_says_where_a_fault_was_but_not_what_was_sent(capsys):
    try:
        raise ValueError(PHOTO)
    except ValueError as error:
        log_failure("A request failed", error)
    assert re.fullmatch(r"A request failed: ValueError at test_attacks\.py:\d+\n", capsys.readouterr().err)


# The last test of the module, as it ends the page.
def test_uploads_cannot_fill_the_disk_and_go_when_the_terminal_is_closed(server):
    url, _, temp, process = server
    for number in range(100):
        answer = upload(url, bytes(MAX_BYTES - number))
        if answer.status_code != 200:
            break
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    sizes = [path.stat().st_size for path in temp.rglob("photo.jpg")]
    assert TOTAL_BYTES - 2 * MAX_BYTES < sum(sizes) <= TOTAL_BYTES
    process.send_signal(signal.SIGHUP)
    process.wait(30)
    assert list(temp.glob("infant-fer-uploads-*")) == []
