"""What does the face express? Any transformers image classifier on the aligned crop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from infant_fer.alignment import AlignedFace
from infant_fer.checkpoints.loading import crop_spec, loaded, one_clear_error
from infant_fer.checkpoints.sources import resolve
from infant_fer.errors import CheckpointError
from infant_fer.explain.speed import faster_copy
from infant_fer.face import Face
from infant_fer.labels import (
    AFFECTS,
    AGE_GROUPS,
    EMOTIONS,
    affect_of_labels,
    canonical_label,
    is_emotions,
    sum_to_affect,
)
from infant_fer.models.geometry import geometry_features
from infant_fer.models.infant_face import InfantFaceModel, InfantFaceOutput


@dataclass(frozen=True)
class Prediction:
    """What one face expresses. `probabilities` has the three affects and sums to 1; what the checkpoint cannot tell is None.

    valence is in -2..2, arousal in 0..2; usable, eyes_closed and mouth_covered are probabilities; streams are the shares of the
    image and the geometry in the affect's logits.
    """

    label: str
    probabilities: dict[str, float]
    emotions: dict[str, float] | None = None
    valence: float | None = None
    arousal: float | None = None
    age_groups: dict[str, float] | None = None
    usable: float | None = None
    eyes_closed: float | None = None
    mouth_covered: float | None = None
    streams: dict[str, float] | None = None

    @property
    def infant(self) -> bool:
        """Whether the crop looks like a usable infant's face to the checkpoint, or it cannot tell."""
        return self.usable is None or self.usable >= 0.5


class AffectClassifier:
    """A checkpoint ready to read aligned faces. Thread-safe: it holds no state of a call."""

    def __init__(
        self,
        model: torch.nn.Module,
        processor,
        name: str,
        card: str = "",
        device: str = "cpu",
        dtype: str = "auto",
    ):
        self.name, self.card, self.device = name, card, _device(device)
        self.labels = tuple(model.config.id2label[index] for index in sorted(model.config.id2label))
        self.affects = affect_of_labels(self.labels)
        self.crop = crop_spec(model.config, processor, name)
        self._processor = processor
        self._model = model.to(self.device).eval().requires_grad_(False)
        self._mirror = bool(getattr(model.config, "test_time_mirror", False))
        self.temperature = float(getattr(model.config, "logit_temperature", None) or 1.0)
        self._explained = self._model if _checked_dtype(dtype) == "float32" else None  # else chosen at first use
        self._choosing = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        on_progress: Callable[[float, str], None] | None = None,
    ) -> AffectClassifier:
        """Load a checkpoint folder or Hub id (default: the embedded checkpoint) and read one blank face to warm up.

        `device` is "auto", "cpu", "cuda" or "mps". Predictions are always made in float32. With `dtype` "auto",
        explanations on the CPU use bfloat16 where one measured batch shows that it pays; "float32" keeps them exact.
        Raises CheckpointError.
        """
        checkpoint = resolve(source, revision, on_progress)
        with one_clear_error(checkpoint.name):
            model, processor = loaded(checkpoint)
            classifier = cls(model, processor, checkpoint.name, checkpoint.card, device, dtype)
            classifier.warm_up()
        return classifier

    def warm_up(self) -> None:
        """Read one blank face, so that the first real one is fast and damaged weights are found out now."""
        size = self.crop.size
        self.predict(AlignedFace(np.full((size, size, 3), 127, np.uint8), np.eye(2, 3)))

    def predict(self, aligned: AlignedFace, face: Face | None = None) -> Prediction:
        """Read one aligned face; `face` lets checkpoints with a geometry stream use its landmarks and blendshapes.

        Raises CheckpointError when the weights give anything but finite numbers.
        """
        return self.prediction(self.output(aligned, face))

    @torch.inference_mode()
    def output(self, aligned: AlignedFace, face: Face | None = None) -> InfantFaceOutput | torch.Tensor:
        """What the model says of one face, without a batch axis: all heads of the project's own model, else the logits.

        Logits are averaged over the crop and, if the checkpoint asks for it, its mirror image (geometry unchanged).
        """
        pixels = self.pixel_values(aligned)
        views = torch.cat([pixels, pixels.flip(-1)]) if self._mirror else pixels
        output = self._model(pixel_values=views, **self._geometry(face, len(views)))
        if not isinstance(output, InfantFaceOutput):
            return output.logits.float().mean(0)
        return InfantFaceOutput(**{name: value.float().mean(0) for name, value in output.items()})

    def pixel_values(self, aligned: AlignedFace) -> torch.Tensor:
        """(1, 3, S, S) float32: the crop scaled and normalised as the checkpoint wants it; no pixel is moved."""
        tensors = self._processor(images=aligned.crop_rgb, do_resize=False, do_center_crop=False, return_tensors="pt")
        return tensors["pixel_values"].to(self.device)

    def score_of(
        self, affect: str, aligned: AlignedFace, face: Face | None = None
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """The differentiable score an explanation asks about: (B, 3, S, S) to (B,) logits of one affect, not mirrored.

        Emotion checkpoints give the log of the summed exponentials of the affect's emotions. The geometry of `face` is
        held fixed, so the map concerns the image stream.
        """
        members = [index for index, name in enumerate(self.affects) if name == affect]
        if not members:
            raise CheckpointError(f"The checkpoint knows no {affect!r}; choose one of {', '.join(AFFECTS)}.")
        model = self._model_to_explain()

        def score(pixel_values: torch.Tensor) -> torch.Tensor:
            output = model(pixel_values=pixel_values, **self._geometry(face, len(pixel_values)))
            return output.logits[:, members].float().logsumexp(1)

        return score

    def prediction(self, output: InfantFaceOutput | torch.Tensor) -> Prediction:
        """Turn what `output` gave into probabilities. Raises CheckpointError when it is not finite."""
        own = isinstance(output, InfantFaceOutput)
        logits = output.logits if own else output
        if not all(bool(torch.isfinite(part).all()) for part in (output.values() if own else (output,))):
            raise CheckpointError(
                f"The checkpoint {self.name} gave no finite answer; its weights are damaged. Choose another."
            )
        named = dict.fromkeys(map(canonical_label, self.labels), 0.0)
        shares = (logits.double() / self.temperature).softmax(-1).tolist()
        for name, share in zip(self.labels, shares, strict=True):
            named[canonical_label(name)] += share
        totals = sum_to_affect(named)
        probabilities = {affect: totals[affect] / sum(totals.values()) for affect in AFFECTS}
        label = max(probabilities, key=probabilities.get)
        if own:
            return Prediction(label, probabilities, **_other_heads(output, AFFECTS.index(label)))
        return Prediction(label, probabilities, emotions=named if is_emotions(self.labels) else None)

    def _geometry(self, face: Face | None, count: int) -> dict[str, torch.Tensor]:
        if face is None or not isinstance(self._model, InfantFaceModel) or self._model.geometry is None:
            return {}
        features = torch.from_numpy(geometry_features(face)).to(self.device)
        return {"geometry": features.expand(count, -1)}

    def _model_to_explain(self) -> torch.nn.Module:
        """The model, or a copy whose input gradients cost less on this machine; measured once, at the first explanation."""
        with self._choosing:
            if self._explained is None:
                self._explained = faster_copy(self._model, self.crop.size)
            return self._explained


def _other_heads(output: InfantFaceOutput, chosen: int) -> dict:
    valence, arousal = output.valence_arousal.tolist()
    heads = {
        "emotions": dict(zip(EMOTIONS, output.emotion_logits.double().softmax(-1).tolist(), strict=True)),
        "valence": min(max(valence, -2.0), 2.0),
        "arousal": min(max(arousal, 0.0), 2.0),
        "age_groups": dict(zip(AGE_GROUPS, output.age_logits.double().softmax(-1).tolist(), strict=True)),
        "usable": float(output.usable_logit.sigmoid()),
        "eyes_closed": float(output.eyes_closed_logit.sigmoid()),
        "mouth_covered": float(output.mouth_covered_logit.sigmoid()),
    }
    if output.geometry_logits is None:
        return heads
    parts = {"image": output.image_logits, "geometry": output.geometry_logits}
    sizes = {name: float((part - part.mean()).abs()[chosen]) for name, part in parts.items()}
    total = sum(sizes.values())
    shares = {name: size / total if total else 0.5 for name, size in sizes.items()}
    return {**heads, "streams": shares}


def _device(asked: str) -> str:
    """The device to use; "auto" takes a GPU where there is one. Raises CheckpointError for one that is not there."""
    present = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if asked == "auto":
        return present[0]
    if asked.split(":")[0] not in present:
        raise CheckpointError(f"There is no device {asked!r} here; choose auto or {' or '.join(present)}.")
    return asked


def _checked_dtype(asked: str) -> str:
    if asked not in ("auto", "float32"):
        raise CheckpointError(f"There is no dtype {asked!r}; choose auto or float32.")
    return asked
