"""How does a clip pass from the browser to the reader? It is taken from the upload folder into memory, and deleted there at once."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import PurePath

import gradio as gr
from gradio.data_classes import FileData, ListFiles

from infant_fer.errors import ImageError
from infant_fer.images import printable
from infant_fer.ui.private_image import read_and_delete
from infant_fer.ui.uploads import CLIP_BYTES


@dataclass(frozen=True, eq=False)
class UploadedClip:
    """A clip in memory and the name it had on its owner's computer."""

    data: io.BytesIO
    name: str


class PrivateClip(gr.File):
    """A File whose upload is read once and deleted; hands an UploadedClip or an ImageError to event functions, shows nothing."""

    def get_block_name(self) -> str:
        """Let the browser draw it as Gradio's own File."""
        return "file"

    async def async_move_resource_to_block_cache(self, url_or_file_path):
        """Refuse URLs, which Gradio would otherwise fetch from the server's network."""
        if str(url_or_file_path or "").lower().startswith(("http:", "https:")):
            raise gr.Error("Only a clip uploaded on this page can be read.", print_exception=False)
        return await super().async_move_resource_to_block_cache(url_or_file_path)

    def preprocess(self, payload: ListFiles | FileData | None) -> UploadedClip | ImageError | None:
        """Take the upload into memory, or return why it cannot be; its file is gone afterwards."""
        if isinstance(payload, ListFiles):
            payload = payload.root[0] if payload.root else None
        if payload is None:
            return None
        try:
            data = read_and_delete(payload.path, CLIP_BYTES)
        except ImageError as error:
            return error
        name = " ".join(printable(PurePath(payload.orig_name or "clip").name).split())
        return UploadedClip(io.BytesIO(data), name[:120])

    def postprocess(self, value: None) -> None:
        """Show no file."""
