"""How do pictures pass between browser and server without leaving a file? An Image component that lives in memory."""

from __future__ import annotations

import base64
import binascii
import threading
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar

import gradio as gr
import numpy as np
from gradio.data_classes import FileData, ImageData, ListFiles

from infant_fer.errors import ImageError
from infant_fer.images import MAX_BYTES, TOO_LARGE, UNREADABLE, Photo, data_url, load_photo
from infant_fer.locales import Message
from infant_fer.ui.uploads import delete_upload, uploaded_file

MAX_NAME = 120  # letters of a file's name that are kept
MAX_TOGETHER = 16  # photos of one request
JPEG_QUALITY = 90  # for display; downloads are PNG
# At most two photos are decoded at once: a 40-megapixel photo takes up to 0.3 GB until it is scaled down.
DECODING = threading.BoundedSemaphore(2)
UPLOADS_ONLY = "Only a file uploaded on this page can be read."


class PrivateImage(gr.Image):
    """An Image whose uploads are read once and deleted, and whose outputs are data: URLs instead of served files.

    Hands a `Photo` to event functions and takes (H, W, 3) uint8 RGB arrays from them. An upload that cannot be read fails
    the event; with `returns_faults` its ImageError is handed to the function instead.
    """

    returns_faults: ClassVar[bool] = False

    def get_block_name(self) -> str:
        """Let the browser draw it as Gradio's own Image."""
        return "image"

    async def async_move_resource_to_block_cache(self, url_or_file_path):
        """Refuse URLs, which Gradio would otherwise fetch from the server's network."""
        if str(url_or_file_path or "").lower().startswith(("http:", "https:")):
            raise gr.Error(UPLOADS_ONLY, print_exception=False)
        return await gr.Image.async_move_resource_to_block_cache(self, url_or_file_path)

    def preprocess(self, payload: ImageData | None) -> Photo | ImageError | None:
        """Decode the upload, or the data: URL of a webcam frame; the uploaded file is gone afterwards, read or refused."""
        if payload is None:
            return None
        photo = _read(payload)
        if isinstance(photo, ImageError) and not self.returns_faults:
            raise gr.Error(photo.sentence, print_exception=False) from None
        return photo

    def postprocess(self, value: np.ndarray | None) -> ImageData | None:
        """Encode as a JPEG data: URL."""
        if value is None:
            return None
        return ImageData(url=data_url(value, JPEG_QUALITY), orig_name="picture.jpg", mime_type="image/jpeg")


class PhotoInput(PrivateImage):
    """The image of which the page says in the answer's place why it cannot be read."""

    returns_faults = True


class PrivateImages(gr.File):
    """Several photos of one request, each read once and deleted.

    Hands a list of each one's name with its `Photo` or `ImageError` to event functions.
    """

    def __init__(self, *, label: str | None = None, visible: bool = True):
        super().__init__(file_count="multiple", label=label, visible=visible)

    def get_block_name(self) -> str:
        """Let the browser draw it as Gradio's own File."""
        return "file"

    async def async_move_resource_to_block_cache(self, url_or_file_path):
        """Refuse URLs, as PrivateImage does."""
        return await PrivateImage.async_move_resource_to_block_cache(self, url_or_file_path)

    def preprocess(self, payload: ListFiles | FileData | None) -> list[tuple[str, Photo | ImageError]] | None:
        """Decode the uploads; more than MAX_TOGETHER are deleted undecoded: a kilobyte may hold 40 megapixels."""
        if payload is None:
            return None
        files = list(payload) if isinstance(payload, ListFiles) else [payload]
        if len(files) > MAX_TOGETHER:
            for file in files:
                with suppress(ImageError):
                    _payload_bytes(file)  # which deletes the upload
            raise gr.Error(Message("Send at most {count} photos at once.", count=MAX_TOGETHER), print_exception=False)
        return [(_name(file), _read(file)) for file in files]


def _read(payload: ImageData | FileData) -> Photo | ImageError:
    try:
        data = _payload_bytes(payload)
        with DECODING:
            return replace(load_photo(data), name=_name(payload))
    except ImageError as error:
        return error


def _name(payload: ImageData | FileData) -> str:
    return (payload.orig_name or "")[:MAX_NAME]


def _payload_bytes(payload: ImageData | FileData) -> bytes:
    if payload.url and payload.url.startswith("data:"):
        text = payload.url.partition(",")[2]
        if len(text) > MAX_BYTES * 4 / 3 + 4:
            raise ImageError(TOO_LARGE)
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            raise ImageError(UNREADABLE) from None
    return read_and_delete(payload.path, MAX_BYTES)


def read_and_delete(path: str | None, limit: int) -> bytes:
    """Read a file of the upload folder, at most `limit` + 1 bytes, and delete it with its folders.

    Anything outside the folder is refused unread. Raises ImageError.
    """
    file = uploaded_file(path)
    if file is None:
        raise ImageError(UPLOADS_ONLY)
    try:
        with file.open("rb") as stream:
            return stream.read(limit + 1)
    except OSError:
        raise ImageError("The file is no longer on the server. Please choose it again.") from None
    finally:
        delete_upload(file)
