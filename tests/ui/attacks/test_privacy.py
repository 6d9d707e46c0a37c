"""What visitors send stays in memory, is forgotten, and goes nowhere."""

import base64
import io
import json
import os
from pathlib import Path

import gradio_client
import httpx
import pytest
from PIL import Image

import infant_fer
from tests.conftest import ANSWER_SECONDS, EXAMPLES

SECRET = "52 30 12.5 N at the blue house"


pytestmark = pytest.mark.slow  # each module starts a page of its own


@pytest.fixture(scope="module")
def client(page_server):
    return gradio_client.Client(page_server[0], download_files=False, analytics_enabled=False, verbose=False)


def files_in(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def with_gps(path: Path) -> bytes:
    """A copy of a picture whose metadata tells where it was taken."""
    exif = Image.Exif()
    exif[0x010E] = SECRET
    exif.get_ifd(0x8825)[1] = "N"
    buffer = io.BytesIO()
    Image.open(path).save(buffer, "JPEG", exif=exif)
    assert SECRET.encode() in buffer.getvalue()
    return buffer.getvalue()


def call(url: str, photo: dict) -> str:
    """Send a raw payload to /analyze as a stranger would; gives the server's event stream as text."""
    started = httpx.post(f"{url}gradio_api/call/analyze", json={"data": [photo, None]}, timeout=ANSWER_SECONDS)
    if started.status_code != 200:
        return started.text
    return httpx.get(f"{url}gradio_api/call/analyze/{started.json()['event_id']}", timeout=ANSWER_SECONDS).text


def test_the_endpoint_needs_a_photo_only_and_answers_with_the_report(client, page_server, tmp_path):
    photo = tmp_path / "gps.jpg"
    photo.write_bytes(with_gps(EXAMPLES / "smile.jpg"))
    report = client.predict(gradio_client.handle_file(photo), api_name="/analyze")
    assert report["faces"][0]["label"] in ("positive", "neutral", "negative")
    assert sum(report["faces"][0]["probabilities"].values()) == pytest.approx(1)
    assert SECRET not in json.dumps(report)
    assert files_in(page_server[1]) == []


def test_only_two_endpoints_are_public(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/analyze", "/analyze_batch"]
    assert all("`steadiness`" in endpoint["description"] for endpoint in endpoints.values())


def test_the_endpoint_explains(client, page_server):
    photo = gradio_client.handle_file(EXAMPLES / "smile.jpg")
    report = client.predict(photo, explain=True, api_name="/analyze")
    explanation = report["faces"][0]["explanation"]
    picture = Image.open(io.BytesIO(base64.b64decode(explanation["map"].removeprefix("data:image/png;base64,"))))
    assert max(picture.size) == 512
    assert set(explanation["emphasis_per_part"]) == set(explanation["share_per_part"])
    assert report["faces"][0]["assessment"]["verdict"] == "answer"
    assert (report["version"], len(report["weights_sha256"])) == (infant_fer.__version__, 64)
    assert files_in(page_server[1]) == []


def test_several_photos_in_one_request(client, page_server, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no photo")
    paths = [EXAMPLES / "smile.jpg", bad, EXAMPLES / "cry.jpg"]
    answers = client.predict([gradio_client.handle_file(path) for path in paths], api_name="/analyze_batch")
    assert [answer.get("file") for answer in answers] == ["smile.jpg", "bad.jpg", "cry.jpg"]
    assert "could not be read" in answers[1]["error"]
    assert answers[2]["faces"][0]["label"] == "negative"
    assert files_in(page_server[1]) == []


def test_a_wrong_checkpoint_name_is_one_clear_error(client, page_server):
    log = (page_server[1].parent / "log.txt").read_text()
    with pytest.raises(gradio_client.exceptions.AppError, match="does not offer that checkpoint"):
        client.predict(gradio_client.handle_file(EXAMPLES / "smile.jpg"), "no/such", api_name="/analyze")
    assert "Traceback" not in (page_server[1].parent / "log.txt").read_text()[len(log) :]


def test_refused_files_leave_nothing(client, page_server, tmp_path):
    bad = tmp_path / "bad.jpg"
    for content in (b"", b"no photo", with_gps(EXAMPLES / "smile.jpg")[:500]):
        bad.write_bytes(content)
        with pytest.raises((gradio_client.exceptions.AppError, ValueError)):
            client.predict(gradio_client.handle_file(bad), api_name="/analyze")
        assert files_in(page_server[1]) == []


@pytest.mark.parametrize(
    "payload",
    [
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": "../../etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": str(EXAMPLES / "smile.jpg"), "meta": {"_type": "gradio.FileData"}},
        {"path": "http://127.0.0.1:9/photo.jpg", "meta": {"_type": "gradio.FileData"}},
        {"url": "http://127.0.0.1:9/photo.jpg", "path": None, "meta": {"_type": "gradio.FileData"}},
        {"url": "file:///etc/passwd", "path": None, "meta": {"_type": "gradio.FileData"}},
        {"url": "data:image/png;base64,@@@@", "path": None, "meta": {"_type": "gradio.FileData"}},
    ],
    ids=["absolute", "upwards", "a real photo", "http path", "http url", "file url", "broken data"],
)
def test_paths_and_urls_sent_straight_to_the_endpoint_are_refused(page_server, payload):
    answer = call(page_server[0], payload)
    assert "faces" not in answer
    assert "root:" not in answer
    assert "Traceback" not in answer


def test_a_data_url_is_as_good_as_a_file(page_server):
    data = base64.b64encode((EXAMPLES / "cry.jpg").read_bytes()).decode()
    payload = {"url": f"data:image/jpeg;base64,{data}", "path": None, "meta": {"_type": "gradio.FileData"}}
    assert '"faces"' in call(page_server[0], payload)


def test_uploads_are_never_served(page_server):
    url = page_server[0]
    path = str(upload(url, (EXAMPLES / "smile.jpg").read_bytes()))
    assert Path(path).is_file()
    for address in (f"gradio_api/file={path}", f"file={path}", f"gradio_api/file/{path}"):
        answer = httpx.get(url + address, timeout=ANSWER_SECONDS)
        assert answer.status_code in (403, 404)
        assert answer.content[:2] != b"\xff\xd8"
    Path(path).unlink()
    Path(path).parent.rmdir()
    Path(path).parent.parent.rmdir()


def upload(url: str, content: bytes) -> Path:
    sent = httpx.post(f"{url}gradio_api/upload", files={"files": ("photo.jpg", content)}, timeout=ANSWER_SECONDS)
    return Path(sent.json()[0])


def test_two_visitors_with_the_same_photo_both_get_an_answer(page_server):
    content = (EXAMPLES / "smile.jpg").read_bytes()
    paths = [upload(page_server[0], content) for _ in range(2)]
    for path in paths:
        answer = call(page_server[0], {"path": str(path), "meta": {"_type": "gradio.FileData"}})
        assert '"faces"' in answer
    assert files_in(page_server[1]) == []
    assert not any(path.parent.parent.exists() for path in paths)


def test_uploads_nobody_reads_are_deleted_after_some_minutes(tmp_path):
    from infant_fer.ui.uploads import UNREAD_SECONDS, delete_unread

    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/b/old.jpg", "tmp_broken_off", "new.jpg"):
        (tmp_path / name).write_bytes(b"a photo")
    for name in ("a/b/old.jpg", "tmp_broken_off"):
        os.utime(tmp_path / name, (0, 0))
    delete_unread(tmp_path, UNREAD_SECONDS)
    assert files_in(tmp_path) == ["new.jpg"]
    for _ in range(2):  # deleting the content of a folder renews its time
        for folder in filter(Path.is_dir, tmp_path.rglob("*")):
            os.utime(folder, (0, 0))
        delete_unread(tmp_path, UNREAD_SECONDS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["new.jpg"]


def test_uploads_that_are_read_while_they_are_counted_are_no_fault(tmp_path, monkeypatch):
    from infant_fer.ui.uploads import delete_unread, stored_bytes

    real = os.scandir

    def scandir(path):
        if Path(path).name == "read":  # it was listed, and goes before it is looked into
            Path(path).rmdir()
        return real(path)

    for count in (stored_bytes, lambda folder: delete_unread(folder, seconds=600)):
        (tmp_path / "read").mkdir()
        (tmp_path / "waiting").mkdir(exist_ok=True)
        (tmp_path / "waiting" / "photo.jpg").write_bytes(b"a photo")
        with monkeypatch.context() as patched:
            patched.setattr(os, "scandir", scandir)
            assert count(tmp_path) in (7, None)
        assert not (tmp_path / "read").exists()


def test_headers_and_switches(page_server):
    url = page_server[0]
    answer = httpx.get(url, timeout=ANSWER_SECONDS)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"].endswith("no-store")
    config = httpx.get(f"{url}config", timeout=ANSWER_SECONDS).json()
    assert config["analytics_enabled"] is False
    assert config["enable_queue"] is True
    assert not config.get("run_history")
    for address in (
        "monitoring",
        "docs",
        "openapi.json",
        "gradio_api/deep_link",
        "gradio_api/proxy=http://127.0.0.1:9/",
    ):
        assert httpx.get(url + address, timeout=ANSWER_SECONDS).status_code in (403, 404), address


def test_config_and_api_schema_show_no_path_of_the_server(page_server):
    for address in ("config", "gradio_api/info"):
        answer = httpx.get(page_server[0] + address, timeout=ANSWER_SECONDS)
        assert answer.status_code == 200
        assert "infant-fer-small" in answer.text
        assert str(EXAMPLES.parent) not in answer.text
        assert str(page_server[1]) not in answer.text


def test_gps_goes_in_and_comes_out_nowhere(analyzer, tmp_path):
    from infant_fer.report_html import report_page
    from infant_fer.ui.downloads import DOWNLOADS, download
    from infant_fer.ui.sessions import Session

    session = Session()
    report = analyzer.explain(analyzer.analyze(with_gps(EXAMPLES / "smile.jpg")))
    assert session.finish_photo(session.begin_photo(report.photo), report)
    for kind in DOWNLOADS:
        content = base64.b64decode(download(session, kind)["base64"])
        assert SECRET.encode() not in content
        assert b"Exif" not in content
    assert SECRET not in report_page(session.report)


def test_nothing_is_remembered_after_the_page_is_closed(monkeypatch):
    """The page's own unload handler forgets the visitor's session and what Gradio keeps of its components."""
    import gradio as gr

    from infant_fer.checkpoints.registry import CheckpointRegistry, available_checkpoints
    from infant_fer.ui.page import build_page
    from infant_fer.ui.sessions import SessionStore

    store = SessionStore()
    page = build_page(CheckpointRegistry(available_checkpoints([])), store, [])
    unload = next(fn.fn for fn in page.fns.values() if any(target[1] == "unload" for target in fn.targets))
    page.state_holder.session_data["left"] = "a visitor's components"
    store.create("left")
    unload(gr.Request(session_hash="left"))
    assert "left" not in page.state_holder.session_data
    store.create("left")  # a photo that was still being decoded
    assert len(store) == 0
    page.page_lives("left")
    store.create("left")
    assert len(store) == 1
    page.state_holder.session_data["idle"] = "a visitor's components"
    store.on_forget("idle")
    assert "idle" not in page.state_holder.session_data
    page.state_holder.session_data["back"] = "a visitor's components"
    store.create("back")
    store.on_forget("back")
    assert "back" in page.state_holder.session_data
