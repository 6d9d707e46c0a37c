"""The Clip tab: upload or record a clip, see its timeline beside the player, explain single frames, download the files."""

from __future__ import annotations

import io
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.context import Context
from gradio.events import Dependency

from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.errors import ClipError, ImageError, InfantFERError
from infant_fer.images import Photo
from infant_fer.locales import Translate, translator
from infant_fer.report_html import fault_html
from infant_fer.ui.clip.player import FRAME_JS, KEEP_JS, PREVIEW, RECORD_JS, RECORD_SECONDS, UPLOADED_JS, view_html
from infant_fer.ui.clip.upload import PrivateClip, UploadedClip
from infant_fer.ui.compute import MAP, TURNS
from infant_fer.ui.downloads import SAVE_JS, as_download
from infant_fer.ui.event_queue import CORES, READS_PHOTO, GuardedBlocks
from infant_fer.ui.languages import choices, language_of
from infant_fer.ui.languages import label as t
from infant_fer.ui.photo.tab import PhotoTab, created
from infant_fer.ui.photo.view import read_photo, user_error
from infant_fer.ui.private_image import PrivateImage
from infant_fer.ui.sessions import Session, SessionStore
from infant_fer.ui.uploads import CLIP_BYTES, upload_folder
from infant_fer.video.analysis import REGIONS, ClipAnalysis, Progress, VideoSettings
from infant_fer.video.exports import EXPORTERS, export, safe_stem
from infant_fer.video.reading import CLIP_SUFFIXES, ClipLimits, ClipSettings
from infant_fer.video.timeline import Timeline

CLIP_SECONDS = float(RECORD_SECONDS)
CLIP_PIXELS = 9_000_000  # of a frame; 4K video has 8.3 million, and larger frames decode for minutes while others wait
MAX_READING_SECONDS = 900.0  # of work for one clip, waiting for others included
RATES = {"5 frames a second": 5.0, "10 frames a second": 10.0, "all frames": None}
DEFAULT_RATE = "10 frames a second"
WHOLE = "whole frame"
ALL_FORMATS = "all formats (ZIP)"
SHOWN_EVERY = 0.5  # seconds between two updates of the progress
HELP = (
    f"A clip of at most {RECORD_SECONDS // 60} minutes and {CLIP_BYTES // 10**6} MB: MP4, MOV, WebM, MKV or AVI. It is deleted on the "
    "server as soon as it is read; the player uses the copy on your own device."
)
IDLE = "Choose a clip or record one. The timeline appears here."
NO_CLIP_YET = "There is no timeline yet. Choose a clip first."
TOO_SLOW = "Reading this clip takes too long here. Choose fewer frames a second, or a shorter part."
NO_FRAME = "Your browser cannot show this clip's frames. Save the clip as MP4 (H.264) or WebM, or explain a photo of the moment."


@dataclass(frozen=True)
class _Parts:
    """The tab's components."""

    file: PrivateClip
    record: gr.Button
    settings: tuple[gr.Radio, gr.Radio]  # frames a second, and the region
    view: gr.HTML
    stop: gr.Button
    actions: gr.Row
    explain: gr.Button
    choice: gr.Dropdown
    save: gr.Button
    frame: PrivateImage  # hidden: the moment's frame, taken by the browser
    payload: gr.JSON  # hidden: a download


def build_clip_tab(
    registry: CheckpointRegistry, sessions: SessionStore, photo_tab: PhotoTab, tabs: gr.Tabs
) -> Dependency:
    """Lay out the tab and wire its events; return the event that shows a frame in the Photo tab."""
    with gr.Row(equal_height=False, elem_id="clip-bench"):
        with gr.Column(scale=1, min_width=280, elem_id="clip-side"):
            file = PrivateClip(label=t("Clip"), file_types=sorted(CLIP_SUFFIXES), height=140, elem_id="clip-file")
            record = gr.Button(t("Record with the camera"), elem_id="clip-record")
            gr.HTML(PREVIEW, elem_id="clip-preview", padding=False)
            rate = gr.Radio(
                choices(RATES),
                value=DEFAULT_RATE,
                label=t("Read"),
                info=t("More frames take longer and time bouts finer."),
            )
            region = gr.Radio(
                choices((WHOLE, *REGIONS)),
                value=WHOLE,
                label=t("Where the infant is"),
                info=t("For split screens."),
            )
            gr.Markdown(t(HELP))
        with gr.Column(scale=3, min_width=320, elem_id="clip-results"):
            stop = gr.Button(t("Stop reading"), visible=False, elem_id="clip-stop")
            with gr.Row(visible=False, elem_id="clip-actions") as actions:
                explain = gr.Button(t("Explain this frame"), variant="primary", elem_id="clip-explain")
                choice = gr.Dropdown(
                    [*choices([ALL_FORMATS]), *((name.format(stem="clip"), name) for name in EXPORTERS)],
                    value=ALL_FORMATS,
                    label=t("Format"),
                    elem_id="clip-format",
                    min_width=220,  # beside a button on a phone the name would lie under the arrow
                )
                save = gr.Button(t("Download"), elem_id="clip-save")
            view = gr.HTML(_line(t(IDLE)), elem_id="clip-view", padding=False)
    frame = PrivateImage(visible="hidden", label="frame")
    payload = gr.JSON(visible="hidden", label="download")
    parts = _Parts(file, record, (rate, region), view, stop, actions, explain, choice, save, frame, payload)
    return _wire(ClipEvents(registry, sessions), photo_tab, tabs, parts)


class ClipEvents:
    """What happens at each event, by the visitor's session."""

    def __init__(self, registry: CheckpointRegistry, sessions: SessionStore):
        self.registry, self.sessions = registry, sessions

    def read(
        self, clip: UploadedClip | ImageError | None, rate: str, region: str, checkpoint: str, request: gr.Request
    ) -> Iterator[list]:
        """Yield values for field, view, stop button and actions while the clip is read."""
        if clip is None:
            yield [gr.skip()] * 4
            return
        session, _ = created(self.sessions, request), translator(language_of(request))
        clip_id = session.begin_clip()
        hide, show = gr.update(visible=False), gr.update(visible=True)
        if isinstance(clip, ImageError):
            yield [None, str(fault_html(_(clip.sentence), session.language)), hide, hide]
            return
        yield [None, progress_html(None, 0.0, _), show, hide]
        try:
            analysis = ClipAnalysis(clip.data, self.registry.analyzer(checkpoint), _settings(rate, region))
            for progress in _steps(analysis):
                if not session.is_newest_clip(clip_id) or not self._is_known(request):
                    return
                yield [gr.skip(), progress_html(*progress, _), gr.skip(), gr.skip()]
            timeline = analysis.timeline(clip.name)
        except InfantFERError as error:
            yield [gr.skip(), str(fault_html(_(error.sentence), session.language)), hide, hide]
            return
        if session.finish_clip(clip_id, timeline):
            yield [gr.skip(), view_html(timeline, session.language), hide, show]

    def _is_known(self, request: gr.Request) -> bool:
        """Return whether the visitor is still there; one without a session is as long as the request."""
        return not request.session_hash or request.session_hash in self.sessions

    def stop_older(self, session_hash: str) -> None:
        """Let the clip that is read end, because a newer one of the same visitor waits."""
        if session_hash in self.sessions:
            self.sessions.get(session_hash).begin_clip()

    def missed(self, request: gr.Request) -> list:
        """Return values for field and view where a clip found no place: it can be chosen again."""
        return [None, _line(translator(language_of(request))(IDLE))]

    def stop(self, request: gr.Request) -> list:
        """Let the clip that is read end; return values for view, stop button and actions."""
        session = self.sessions.get(request.session_hash)
        session.begin_clip()
        return [_line(translator(language_of(request))(IDLE)), gr.update(visible=False), gr.update(visible=False)]

    def explain(self, frame: Photo | None, checkpoint: str, request: gr.Request) -> list:
        """Read one frame as a photo; return the values of the Photo tab and the tab to show."""
        session = self.sessions.get(request.session_hash)
        _timeline(session)
        if frame is None:
            raise user_error(NO_FRAME)
        return [*read_photo(self.registry, session, frame, checkpoint), gr.update(selected="photo")]

    def save(self, choice: str, request: gr.Request) -> dict[str, str]:
        """Return one download: a file of EXPORTERS, or all of them as a ZIP."""
        timeline = _timeline(self.sessions.get(request.session_hash))
        with tempfile.TemporaryDirectory(dir=_folder()) as folder:
            files = export(timeline, Path(folder), None if choice == ALL_FORMATS else [choice])
            if len(files) == 1:
                return as_download(files[0].name, "application/octet-stream", files[0].read_bytes())
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
                for path in sorted(Path(folder).iterdir()):
                    packed.write(path, path.name)
        return as_download(f"{safe_stem(timeline.source)}.zip", "application/zip", archive.getvalue())


def _wire(events: ClipEvents, photo_tab: PhotoTab, tabs: gr.Tabs, parts: _Parts) -> Dependency:
    private, checkpoint = {"api_visibility": "private"}, photo_tab.settings.checkpoint
    quiet = {**private, "show_progress": "hidden"}
    root: GuardedBlocks = Context.root_block
    root.newest_only("clip", events.stop_older)
    parts.file.upload(None, None, parts.view, js=UPLOADED_JS, **private)
    read = parts.file.upload(
        events.read,
        [parts.file, *parts.settings, checkpoint],
        [parts.file, parts.view, parts.stop, parts.actions],
        concurrency_id="clip",
        concurrency_limit=max(1, CORES // 2),
        trigger_mode="multiple",  # every upload is taken, and so deleted, even while another is read
        **quiet,
    )
    read.failure(events.missed, None, [parts.file, parts.view], queue=False, **quiet)
    parts.stop.click(events.stop, None, [parts.view, parts.stop, parts.actions], queue=False, **quiet)
    parts.record.click(None, None, None, js=RECORD_JS, **private)
    explained = parts.explain.click(
        events.explain,
        [parts.frame, checkpoint],
        [*photo_tab.outputs, tabs],
        js=FRAME_JS,
        **private,
        **READS_PHOTO,
    )
    saved = parts.save.click(events.save, [parts.choice], [parts.payload], **quiet)
    saved.success(None, [parts.payload], None, js=SAVE_JS, **private)
    root.load(None, None, None, js=KEEP_JS, **private)
    return explained


def _settings(rate: str, region: str) -> VideoSettings:
    limits = ClipLimits(max_bytes=CLIP_BYTES, max_seconds=CLIP_SECONDS, max_pixels=CLIP_PIXELS)
    clip = ClipSettings(fps=RATES.get(rate, RATES[DEFAULT_RATE]), limits=limits, threads=1)
    return VideoSettings(clip, REGIONS.get(region), ahead=False)


def _steps(analysis: ClipAnalysis) -> Iterator[tuple[Progress, float]]:
    """Yield progress and elapsed seconds now and then; the work waits for its turn among the visitors. Raises InfantFERError."""
    steps, started, shown_at = analysis.steps(), time.monotonic(), 0.0
    while True:
        with TURNS.turn(MAP):
            progress = next(steps, None)
        if progress is None:
            return
        now = time.monotonic()
        if now - started > MAX_READING_SECONDS:
            raise ClipError(TOO_SLOW)
        if now - shown_at >= SHOWN_EVERY:
            shown_at = now
            yield progress, now - started


def progress_html(progress: Progress | None, elapsed_s: float, _: Translate = translator()) -> str:
    """Return how far the reading is, with the time left where it is known."""
    words, value = _("The clip is opened."), ""
    if progress is not None:
        words = _("{seconds} s of the clip are read.", seconds=round(progress.time_s))
        if progress.seconds_left is not None and elapsed_s > 2:
            words += " " + _("About {seconds} s are left.", seconds=round(progress.seconds_left))
        value = "" if progress.share is None else f' value="{progress.share:.3f}" max="1"'
    bar = f'<progress{value} aria-label="{_("Reading the clip")}"></progress>'
    return f'<div class="ife"><p role="status">{words}</p>{bar}</div>'


def _line(words: str) -> str:
    return f'<div class="ife"><p>{words}</p></div>'


def _timeline(session: Session) -> Timeline:
    if session.timeline is None:
        raise user_error(NO_CLIP_YET)
    return session.timeline


def _folder() -> str:
    """Return the private folder for uploads, which is in memory where there is one."""
    folder = upload_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
