"""What does a network look at while it learns? Maps of given faces after every epoch, as pictures in the run's folder."""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from accelerate.utils import extract_model_from_parallel
from PIL import Image
from torch.optim.swa_utils import AveragedModel
from transformers import TrainerCallback

from infant_fer.alignment import AlignedFace, CropSpec, align_face, whole_picture
from infant_fer.checkpoints.sources import face_bundle
from infant_fer.classifier import AffectClassifier
from infant_fer.drawing import overlaid
from infant_fer.errors import DatasetError, ExplanationError
from infant_fer.explain import METHODS, Score
from infant_fer.explain.saliency import FINE_BLUR
from infant_fer.face_detection import FaceDetector
from infant_fer.files import write_atomically
from infant_fer.images import encode_png, load_image
from infant_fer.labels import AFFECTS
from infant_fer.training.pretrained import PretrainedModel

FOLDER = "watch"  # in a run's folder
SAMPLES = 10  # of SmoothGrad: enough to see it move, and quick
ATTENTION = ("attention_relevance", "rollout", "gradcam")  # the first that applies to the network
SHOWN_PX = 128  # side of one crop in a frame
LINE_PX = 22  # height of a line of text
FRAME_MS = 700
MOST_STILLS = 6  # frames beside each other in the still strip


@dataclass(frozen=True, eq=False)
class WatchedFace:
    """A face of a picture, cut out as the network sees it, and the picture's file name."""

    name: str
    aligned: AlignedFace


def watched_faces(files: Sequence[Path], crop: CropSpec, whole: bool = False) -> tuple[WatchedFace, ...]:
    """Return the most prominent face of every picture, or the `whole` picture.

    Raises ImageError for what is no picture and DatasetError where no face is found.
    """
    detector = None if whole or not files else FaceDetector(face_bundle())
    found = []
    for file in files:
        photo_rgb = load_image(file)
        if detector is None:
            aligned = whole_picture(photo_rgb, crop)
        else:
            faces = detector.find(photo_rgb)
            if not faces:
                raise DatasetError(f"{file.name}: no face was found whose map could be drawn. Give another --watch.")
            aligned = align_face(photo_rgb, faces[0], crop)
        found.append(WatchedFace(file.name, aligned))
    return tuple(found)


def digest(faces: Sequence[WatchedFace]) -> str | None:
    """Return what tells faces from others without telling who they are; None without any."""
    pixels = [hashlib.sha256(face.aligned.crop_rgb.tobytes()).hexdigest() for face in faces]
    return hashlib.sha256(" ".join(pixels).encode()).hexdigest() if faces else None


class MapsPerEpoch(TrainerCallback):
    """Write one PNG after every epoch: each face, its SmoothGrad map and its attention, for the class that is answered.

    A copy of the model is explained, that of the averaged weights if there is an `average`, so that the training goes on as
    without it. The file is `step`, "head" or "whole", and the epoch.
    """

    def __init__(
        self,
        base: PretrainedModel,
        faces: Sequence[WatchedFace],
        folder: Path,
        step: str,
        average: AveragedModel | None = None,
    ):
        self.base, self.faces, self.folder, self.step, self.average = base, faces, folder, step, average

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        """Draw and write the epoch's frame, in the main process."""
        if not state.is_world_process_zero:
            return
        number = round(state.epoch)
        learned = model if self.average is None else self.average.module
        plain = extract_model_from_parallel(copy.deepcopy(learned), keep_fp32_wrapper=False).to("cpu")
        classifier = AffectClassifier(plain, self.base.processor, self.base.name, precision="float32")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / f"{self.step}-{number:03}.png", encode_png(self._frame(classifier, number)))

    def _frame(self, classifier: AffectClassifier, epoch: int) -> np.ndarray:
        words = {"head": "head alone, epoch", "whole": "epoch"}[self.step]
        rows = [_row(classifier, face) for face in self.faces]
        return np.vstack([_text(f"{words} {epoch}", rows[0].shape[1]), *rows])


def _row(classifier: AffectClassifier, face: WatchedFace) -> np.ndarray:
    """Return one face as it is, under its SmoothGrad map and under its attention, with a line of words below."""
    crop_rgb = face.aligned.crop_rgb
    shares = classifier.image_probabilities(crop_rgb[None])[0]
    answer = AFFECTS[int(shares.argmax())]
    score, pixels = classifier.score_of(answer, face.aligned), classifier.pixel_values(face.aligned)
    maps = [METHODS["smoothgrad"].from_options(samples=SAMPLES).map(score, pixels).for_display(FINE_BLUR)]
    title, attention = _attention(score, pixels)
    pictures = [crop_rgb, overlaid(crop_rgb, maps[0]), crop_rgb if attention is None else overlaid(crop_rgb, attention)]
    large = [cv2.resize(each, (SHOWN_PX, SHOWN_PX), interpolation=cv2.INTER_CUBIC) for each in pictures]
    line = f"{answer} {shares.max() * 100:.0f} %   |   SmoothGrad   |   {title}"
    return np.vstack([np.hstack(large), _text(line, 3 * SHOWN_PX)])


def _attention(score: Score, pixels: torch.Tensor) -> tuple[str, np.ndarray | None]:
    """Return the title and the (S, S) map of the first of ATTENTION that applies; None without any."""
    for name in ATTENTION:
        try:
            return METHODS[name].title, METHODS[name]().map(score, pixels).values
        except ExplanationError:
            continue
    return "no attention, no grid", None


def _text(words: str, width: int) -> np.ndarray:
    """Return (LINE_PX, width, 3) uint8: one line of dark words on white."""
    line = np.full((LINE_PX, width, 3), 255, np.uint8)
    ascii_words = words.encode("ascii", "replace").decode()
    cv2.putText(line, ascii_words, (4, LINE_PX - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
    return line


def read_frames(run_folder: Path) -> tuple[np.ndarray, ...]:
    """Return the frames of a run, (H, W, 3) uint8, those of the head's step first; empty when nothing was watched."""
    return tuple(load_image(file) for file in sorted((run_folder / FOLDER).glob("*.png")))


def still_strip(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Return up to MOST_STILLS frames, evenly chosen with the first and the last, below each other."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, MOST_STILLS).round().astype(int))
    return np.vstack([frames[index] for index in chosen])


def animated(frames: Sequence[np.ndarray]) -> bytes:
    """Return the frames as one animated WebP file that repeats."""
    first, *others = (Image.fromarray(frame) for frame in frames)
    stream = io.BytesIO()
    first.save(stream, "WEBP", save_all=True, append_images=others, duration=FRAME_MS, loop=0, quality=85)
    return stream.getvalue()
