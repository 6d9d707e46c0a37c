"""How does a result reach the person's disk without a file on the server? As bytes in the answer, saved by the browser."""

from __future__ import annotations

import base64

from infant_fer.drawing import draw_faces, draw_saliency
from infant_fer.images import encode_png
from infant_fer.report_html import report_page
from infant_fer.ui.photo.view import report_with_face
from infant_fer.ui.sessions import Session

DOWNLOADS = {
    "landmarks": "Landmarks (PNG)",
    "map": "Map (PNG)",
    "json": "Report (JSON)",
    "html": "Report (HTML)",
}

SAVE_JS = """(file) => {
  if (!file) return;
  const bytes = Uint8Array.from(atob(file.base64), (c) => c.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], {type: file.type}));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}"""


def download(session: Session, kind: str) -> dict[str, str]:
    """Return name, media type and base64 bytes of one download; pictures have the photo's full working size."""
    report, number, display = report_with_face(session), session.face_number, session.display
    if kind == "landmarks":
        return _file("landmarks.png", "image/png", encode_png(draw_faces(report, number, display.overlay)))
    if kind == "map":
        return _file("map.png", "image/png", encode_png(draw_saliency(report, number, display.strength)))
    if kind == "json":
        return _file("report.json", "application/json", report.to_json().encode())
    return _file("report.html", "text/html", report_page(report, number).encode())


def _file(name: str, media_type: str, data: bytes) -> dict[str, str]:
    return {"name": name, "type": media_type, "base64": base64.b64encode(data).decode()}
