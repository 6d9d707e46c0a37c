"""How does a result reach the person's disk without a file on the server? As bytes in the answer, saved by the browser."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from infant_fer.drawing import DIFFERENCE_OVERLAY, OVERLAYS, draw_faces, draw_saliency
from infant_fer.images import encode_png
from infant_fer.report_html import report_page
from infant_fer.ui.photo.view import report_with_face, user_error
from infant_fer.ui.sessions import Session

NO_MAP_YET = "There is no map of this face yet. It can be saved as soon as it is drawn."
MAX_NOTE = 2000  # letters
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


def download(session: Session, kind: str, note: str = "") -> dict[str, str]:
    """Return name, media type and base64 bytes of one download; pictures have the photo's full working size."""
    report, number, display = report_with_face(session), session.face_number, session.display
    stem = Path(report.photo.name).stem or "photo"
    if kind == "landmarks":
        words_needed = display.overlay == DIFFERENCE_OVERLAY  # a picture alone would go without its words
        overlay = OVERLAYS[0] if words_needed else display.overlay
        picture = encode_png(draw_faces(report, number, overlay))
        return as_download(f"{stem}-landmarks.png", "image/png", picture)
    if kind == "map":
        if report.face(number).explanation is None:
            raise user_error(NO_MAP_YET)
        picture = encode_png(draw_saliency(report, number, display.strength, display.map_view))
        return as_download(f"{stem}-map.png", "image/png", picture)
    if kind == "json":
        report_json = {**report.to_dict(), **({"file": report.photo.name} if report.photo.name else {})}
        text = json.dumps({**report_json, **({"note": note} if note else {})}, indent=2, ensure_ascii=False)
        return as_download(f"{stem}-report.json", "application/json", text.encode())
    page = report_page(report, number, session.language, note[:MAX_NOTE])
    return as_download(f"{stem}-report.html", "text/html", page.encode())


def as_download(name: str, media_type: str, data: bytes) -> dict[str, str]:
    """Return what SAVE_JS saves."""
    return {"name": name, "type": media_type, "base64": base64.b64encode(data).decode()}
