"""What does the face express? Any transformers image classifier on the aligned crop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

from infant_fer.alignment import AlignedFace, CropSpec
from infant_fer.checkpoints import Checkpoint, resolve
from infant_fer.errors import CheckpointError
from infant_fer.faces import Face
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

BFLOAT16_GAIN = 1.3  # the least speed-up for which explanations give up float32


@dataclass(frozen=True)
class Prediction:
    """What one face expresses. `probabilities` has the three affects and sums to 1; what the checkpoint cannot tell is None.

    valence is in -2..2, arousal in 0..2; usable and eyes_closed are probabilities; streams are the shares of the
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
    streams: dict[str, float] | None = None


class AffectClassifier:
    """A checkpoint ready to read aligned faces. Thread-safe: it holds no state of a call."""

    def __init__(self, model: torch.nn.Module, processor, name: str, card: str = "", device: str = "cpu"):
        self.name, self.card, self.device = name, card, device
        self.labels = tuple(model.config.id2label[index] for index in sorted(model.config.id2label))
        self.affects = affect_of_labels(self.labels)
        self.crop = _crop_spec(model.config, processor)
        self._processor = processor
        self._model = model.to(device).eval().requires_grad_(False)
        self._mirror = bool(getattr(model.config, "test_time_mirror", False))
        self._temperature = float(getattr(model.config, "logit_temperature", None) or 1.0)
        self._explained = self._faster_for_gradients()

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        revision: str | None = None,
        device: str = "auto",
        on_progress: Callable[[float, str], None] | None = None,
    ) -> AffectClassifier:
        """Load a checkpoint folder or Hub id (default: the embedded checkpoint). Raises CheckpointError."""
        checkpoint = resolve(source, revision, on_progress)
        model, processor = _loaded(checkpoint)
        return cls(model, processor, checkpoint.name, checkpoint.card, _device(device))

    def predict(self, aligned: AlignedFace, face: Face | None = None) -> Prediction:
        """Read one aligned face; `face` lets checkpoints with a geometry stream use its landmarks and blendshapes.

        Raises CheckpointError when the weights give anything but finite numbers.
        """
        return self.predictions([self.output(aligned, face)])[0]

    @torch.inference_mode()
    def output(self, aligned: AlignedFace, face: Face | None = None):
        """The model's own output for one face: logits averaged over the crop and, if the checkpoint asks, its mirror image."""
        pixels = self.pixel_values(aligned)
        views = torch.cat([pixels, pixels.flip(-1)]) if self._mirror else pixels
        output = self._model(views, **self._geometry(face, len(views)))
        tensors = {name: value.float().mean(0) for name, value in output.items() if isinstance(value, torch.Tensor)}
        return type(output)(**tensors) if isinstance(output, InfantFaceOutput) else tensors["logits"]

    def predictions(self, outputs: list) -> list[Prediction]:
        """Turn raw outputs into predictions."""
        return [self._prediction(output) for output in outputs]

    def pixel_values(self, aligned: AlignedFace) -> torch.Tensor:
        """(1, 3, H, W) float32: the crop as the checkpoint wants it."""
        return self._processor(images=aligned.crop_rgb, return_tensors="pt")["pixel_values"].to(self.device)

    def score_of(
        self, affect: str, aligned: AlignedFace, face: Face | None = None
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """The differentiable score an explanation asks about: (B, 3, H, W) to (B,) logits of one affect.

        Emotion checkpoints give the log of the summed exponentials of the affect's emotions. The geometry of `face` is
        held fixed, so the map concerns the image stream.
        """
        members = [index for index, name in enumerate(self.affects) if name == affect]
        if not members:
            raise CheckpointError(f"The checkpoint knows no {affect!r}; choose one of {', '.join(AFFECTS)}.")
        model = self._explained

        def score(pixel_values: torch.Tensor) -> torch.Tensor:
            dtype = next(model.parameters()).dtype
            geometry = {name: value.to(dtype) for name, value in self._geometry(face, len(pixel_values)).items()}
            return model(pixel_values.to(dtype), **geometry).logits[:, members].float().logsumexp(1)

        return score

    def _geometry(self, face: Face | None, count: int) -> dict[str, torch.Tensor]:
        if face is None or not isinstance(self._model, InfantFaceModel) or self._model.geometry is None:
            return {}
        features = torch.from_numpy(geometry_features(face)).to(self.device)
        return {"geometry": features.expand(count, -1)}

    def _prediction(self, output) -> Prediction:
        logits = output.logits if isinstance(output, InfantFaceOutput) else output
        if not torch.isfinite(logits).all():
            raise CheckpointError(
                f"The checkpoint {self.name} gave no finite answer; its weights are damaged. Choose another."
            )
        shares = (logits / self._temperature).double().softmax(-1).tolist()
        named = {canonical_label(name): share for name, share in zip(self.labels, shares, strict=True)}
        totals = sum_to_affect(named)
        probabilities = {affect: totals[affect] / sum(totals.values()) for affect in AFFECTS}
        extras = {"emotions": named} if is_emotions(self.labels) else {}
        if isinstance(output, InfantFaceOutput):
            extras = _other_heads(output, AFFECTS.index(max(probabilities, key=probabilities.get)))
        return Prediction(max(probabilities, key=probabilities.get), probabilities, **extras)

    def _faster_for_gradients(self) -> torch.nn.Module:
        """A bfloat16 copy of the model where one measured batch of gradients is clearly faster with it, else the model."""
        if self.device != "cpu" or sum(p.numel() for p in self._model.parameters()) < 20e6:
            return self._model
        import copy

        candidate = copy.deepcopy(self._model).to(torch.bfloat16)
        size = self.crop.size
        gain = _gradient_seconds(self._model, size) / _gradient_seconds(candidate, size)
        return candidate if gain >= BFLOAT16_GAIN else self._model


def _other_heads(output: InfantFaceOutput, chosen: int) -> dict:
    valence, arousal = output.valence_arousal.tolist()
    extras = {
        "emotions": dict(zip(EMOTIONS, output.emotion_logits.double().softmax(-1).tolist(), strict=True)),
        "valence": min(max(valence, -2.0), 2.0),
        "arousal": min(max(arousal, 0.0), 2.0),
        "age_groups": dict(zip(AGE_GROUPS, output.age_logits.double().softmax(-1).tolist(), strict=True)),
        "usable": float(output.usable_logit.sigmoid()),
        "eyes_closed": float(output.eyes_closed_logit.sigmoid()),
    }
    if output.geometry_logits is not None:
        image, geometry = (
            float((part - part.mean()).abs()[chosen]) for part in (output.image_logits, output.geometry_logits)
        )
        extras["streams"] = {
            "image": image / (image + geometry + 1e-9),
            "geometry": geometry / (image + geometry + 1e-9),
        }
    return extras


def _loaded(checkpoint: Checkpoint):
    """Model and image processor from a checked folder; no request is made, no code of the folder runs."""
    try:
        model, info = AutoModelForImageClassification.from_pretrained(
            checkpoint.path,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        processor = AutoImageProcessor.from_pretrained(checkpoint.path, backend="pil", local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{checkpoint.name} could not be loaded: {str(error).splitlines()[0]}") from None
    wrong = [*info["missing_keys"], *info.get("mismatched_keys", ())]
    if wrong:
        raise CheckpointError(
            f"The weights of {checkpoint.name} do not fit its config.json ({len(wrong)} parameters, such as {wrong[0]}). "
            "Save the model again with save_pretrained."
        )
    return model, processor


def _crop_spec(config, processor) -> CropSpec:
    if getattr(config, "face_crop", None):
        return CropSpec(**config.face_crop)
    size = processor.crop_size if getattr(processor, "do_center_crop", False) else processor.size
    side = size.get("height") or size.get("shortest_edge")
    return CropSpec(size=int(side))


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _gradient_seconds(model: torch.nn.Module, size: int) -> float:
    """Best of two timings of one batch of two input gradients."""
    dtype = next(model.parameters()).dtype
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        pixels = torch.zeros(2, 3, size, size, dtype=dtype, requires_grad=True)
        torch.autograd.grad(model(pixels).logits.sum(), pixels)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
