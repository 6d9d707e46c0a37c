"""What does the browser do with a clip? It plays its own copy beside the timeline, records, and takes single frames. JavaScript."""

from __future__ import annotations

from markupsafe import Markup

from infant_fer.templates import render
from infant_fer.ui.uploads import CLIP_BYTES
from infant_fer.video.page import timeline_page
from infant_fer.video.timeline import Timeline

RECORD_SECONDS = 180  # as long as a clip may be

# The clip stays in the browser's memory as window.infantFer.clip once it is uploaded: the server deletes its copy as soon as it is read, so
# the player and the single frames use the visitor's own. A File of the page's only field for clips is kept, however it came.
KEEP_JS = (
    f"() => {{\n  const MAX_BYTES = {CLIP_BYTES};"
    + """
  const page = window.infantFer;
  if (page.keepsClips) return;
  page.keepsClips = true;
  const say = (text) => { document.querySelector("#clip-preview p").textContent = text; };
  const failed = (key) => say(page.words(key === "too_large" ? "clip_too_large" : key));
  page.senders.push({field: "clip-file", owns: (file) => page.same(file, page.chosenClip), failed});
  const keep = (event, files) => {
    if (!files?.length || !event.target.closest?.("#clip-file")) return;
    say("");
    if (files[0].size <= MAX_BYTES) { page.chosenClip = files[0]; return; }
    event.preventDefault(); event.stopImmediatePropagation();
    failed("too_large");
    if (event.target.value) event.target.value = "";
  };
  document.addEventListener("change", (event) => keep(event, event.target.files), true);
  document.addEventListener("drop", (event) => keep(event, event.dataTransfer?.files), true);
  window.addEventListener("message", (event) => {
    const frame = document.querySelector("#clip-view iframe");
    if (!frame || event.source !== frame.contentWindow) return;
    if (event.data?.ready) { frame.contentWindow.postMessage({clip: page.clip}, "*"); }
    if (event.data?.height > 0) frame.style.height = Math.min(event.data.height, 20000) + "px";
    if (typeof event.data?.time === "number") page.time = event.data.time;
  });
}"""
)

# When a clip is uploaded: it takes the place of the one before, and waits where other visitors' clips are read.
UPLOADED_JS = """() => {
  const page = window.infantFer, line = document.createElement("p");
  page.clip = page.chosenClip;
  line.role = "status";
  line.textContent = page.words("clip_waits");
  return `<div class="ife">${line.outerHTML}</div>`;
}"""

# Returns the frame of the timeline's moment as the value of an image component, or null where the browser cannot show it.
FRAME_JS = """async (image, ...rest) => {
  const page = window.infantFer;
  if (!page.clip) return [null, ...rest];
  const video = document.createElement("video");
  video.muted = true;
  video.src = URL.createObjectURL(page.clip);
  const event = (name) => new Promise((done, failed) => {
    video.addEventListener(name, done, {once: true});
    video.addEventListener("error", failed, {once: true});
    setTimeout(failed, 10000);
  });
  try {
    await event("loadeddata");
    video.currentTime = Math.max(page.time ?? 0, 1e-3);
    await event("seeked");
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const url = canvas.toDataURL("image/jpeg", 0.95);
    return [{path: "", url, orig_name: "frame.jpg", mime_type: "image/jpeg"}, ...rest];
  } catch {
    return [null, ...rest];
  } finally {
    URL.revokeObjectURL(video.src);
  }
}"""

# Starts and stops a recording; its file is given to the field for clips as if it had been chosen there.
RECORD_JS = f"""async () => {{
  const page = window.infantFer;
  const button = document.querySelector("#clip-record");
  if (page.recorder) {{ page.recorder.stop(); return; }}
  if (page.asksForCamera) return;  // a second click while the browser asks
  const preview = document.querySelector("#clip-preview video");
  let stream;
  page.asksForCamera = true;
  try {{
    stream = await navigator.mediaDevices.getUserMedia({{video: {{width: {{ideal: 640}}, height: {{ideal: 480}}}}, audio: false}});
  }} catch {{
    document.querySelector("#clip-preview p").textContent = page.words("no_recording");
    return;
  }} finally {{
    page.asksForCamera = false;
  }}
  const type = ["video/mp4", "video/webm"].find((each) => MediaRecorder.isTypeSupported(each)) ?? "";
  const pieces = [], recorder = page.recorder = new MediaRecorder(stream, type ? {{mimeType: type}} : {{}});
  recorder.ondataavailable = (event) => pieces.push(event.data);
  recorder.onstop = () => {{
    page.recorder = null;
    button.textContent = page.words("record_clip");
    stream.getTracks().forEach((track) => track.stop());
    preview.srcObject = null; preview.hidden = true;
    const kind = recorder.mimeType.includes("mp4") ? "mp4" : "webm";
    const files = new DataTransfer();
    files.items.add(new File(pieces, "recording." + kind, {{type: "video/" + kind}}));
    const field = document.querySelector("#clip-file input[type=file]");
    field.files = files.files;
    field.dispatchEvent(new Event("change", {{bubbles: true}}));
  }};
  preview.srcObject = stream; preview.hidden = false; preview.play();
  button.textContent = page.words("stop_recording");
  recorder.start(1000);
  setTimeout(() => recorder.state === "recording" && recorder.stop(), {RECORD_SECONDS * 1000});
}}"""

PREVIEW = '<div class="ife"><p class="fault" role="status"></p><video muted playsinline hidden data-words="camera"></video></div>'


def view_html(timeline: Timeline, language: str = "en") -> Markup:
    """Return the timeline's page in a frame of its own, which may run its script and nothing else."""
    return render("clip_view.html.j2", language, document=str(timeline_page(timeline, language=language)))
