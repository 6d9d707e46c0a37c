"""What does the face express? Any transformers image classifier on the aligned crop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from infant_fer.alignment import AlignedFace
from infant_fer.checkpoints.loading import crop_spec, load_checkpoint, one_clear_error, weights_sha256
from infant_fer.errors import CheckpointError
from infant_fer.explain.precision import PRECISIONS, explained_copy
from infant_fer.explain.saliency import AffectLogits, Score
from infant_fer.face import Face
from infant_fer.labels import (
    ACTION_UNITS,
    AFFECTS,
    AGE_GROUPS,
    EMOTIONS,
    affect_of_labels,
    canonical_label,
    is_emotions,
    sum_to_affect,
)
from infant_fer.locales import Message
from infant_fer.metrics import entropy
from infant_fer.models.ensemble import temperature_of
from infant_fer.models.features import fingerprint, recorded
from infant_fer.models.geometry import GEOMETRY_SIZE, geometry_features
from infant_fer.trust.gate import assess
from infant_fer.trust.store import TrustData

NOT_FINITE = "The checkpoint {name} gave no finite answer; its weights are damaged. Choose another."


@dataclass(frozen=True)
class Prediction:
    """What one face expresses. `probabilities` has the three affects and sums to 1; heads that the model lacks are None.

    valence is in -2..2, arousal in 0..2; usable, eyes_closed and mouth_covered are probabilities; action_units are strengths
    in 0..1 by labels.ACTION_UNITS; streams are the shares of the image and the geometry in the affect's logits. features,
    (D,) float32, is what the affect layer was given, and disagreement, in nats, the mutual information of label and ensemble
    member; neither is written to a file.
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
    action_units: dict[str, float] | None = None
    streams: dict[str, float] | None = None
    features: np.ndarray | None = field(default=None, repr=False, compare=False)
    disagreement: float | None = None

    @property
    def ranked(self) -> list[str]:
        """Return the three affects, the most probable first."""
        return sorted(self.probabilities, key=lambda affect: -self.probabilities[affect])

    @property
    def infant(self) -> bool:
        """Return whether the face is a usable infant's to the checkpoint; True when it has no head for that."""
        return self.usable is None or self.usable >= 0.5

    @property
    def doubt(self) -> float:
        """Return the entropy of the affect probabilities in nats, 0 to log 3."""
        return float(entropy(np.array(list(self.probabilities.values()))))


class AffectClassifier:
    """A checkpoint ready to classify aligned faces. Thread-safe: it holds no state of a call."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor,
        name: str,
        card: str = "",
        device: str = "cpu",
        precision: str = "auto",
    ):
        self.name, self.card, self.device = name, card, _device(device)
        self.labels = tuple(model.config.id2label[index] for index in sorted(model.config.id2label))
        self.affects = affect_of_labels(self.labels)
        self.crop = crop_spec(model.config, processor, name)
        self._processor = processor
        self._model = model.to(self.device).eval().requires_grad_(False)
        self.temperature = temperature_of(model.config)
        if precision not in PRECISIONS:
            raise CheckpointError(f"There is no precision {precision!r}; choose {', '.join(PRECISIONS)}.")
        self._precision = precision
        self.trust: TrustData | None = None
        self.weights_sha256 = ""  # of the files that it was loaded from
        self.folder: Path | None = None  # where these are
        self._explained: tuple[torch.nn.Module, str] | None = None  # made at the first explanation
        self._copying = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        revision: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        on_progress: Callable[[float, str], None] | None = None,
    ) -> AffectClassifier:
        """Load a checkpoint folder or Hub id (default: infant-fer-small); classify and assess a blank face to warm up.

        `device` is "auto", "cpu", "cuda" or "mps". `precision` is that of explanations, "float32", "bfloat16" or "auto":
        a fixed rule of the architecture and the processor (explain.precision), the same at every load and recorded with
        each map. Predictions are always made in float32. Raises CheckpointError.
        """
        loaded = load_checkpoint(source, revision, on_progress)
        with one_clear_error(loaded.name):
            classifier = cls(loaded.model, loaded.processor, loaded.name, loaded.card, device, precision)
            classifier.trust = TrustData.load(loaded.folder, fingerprint(loaded.model))
            classifier.weights_sha256, classifier.folder = weights_sha256(loaded.folder), loaded.folder
            classifier.warm_up()
        return classifier

    def warm_up(self) -> None:
        """Classify and assess one blank face by all streams: the first real one is fast, and damaged files are detected now."""
        crops = np.full((1, self.crop.size, self.crop.size, 3), 127, np.uint8)
        heads = forward_crops(self._model, self._processor, crops, np.zeros((1, GEOMETRY_SIZE), np.float32))
        assess(self.prediction({name: values[0] for name, values in heads.items()}), (), self.trust)

    def predict(self, aligned: AlignedFace, face: Face | None = None) -> Prediction:
        """Classify one aligned face; with `face`, a geometry stream uses its landmarks and blendshapes.

        Raises CheckpointError when the weights give anything but finite numbers.
        """
        return self.prediction(self.output(aligned, face))

    def predict_batch(self, aligned: Sequence[AlignedFace], faces: Sequence[Face]) -> list[Prediction]:
        """Classify many faces in one forward pass; see `predict`. Faces of a batch may differ from `predict` in the last digits."""
        return [self.prediction(heads) for heads in self._outputs(aligned, faces)] if aligned else []

    def output(self, aligned: AlignedFace, face: Face | None = None) -> dict[str, torch.Tensor]:
        """Return every head's output for one face, without a batch axis; see forward_crops."""
        return self._outputs([aligned], None if face is None else [face])[0]

    def _outputs(self, aligned: Sequence[AlignedFace], faces: Sequence[Face] | None) -> list[dict[str, torch.Tensor]]:
        geometry = None
        if faces is not None and _takes_geometry(self._model):
            geometry = np.stack([geometry_features(face) for face in faces])
        crops = np.stack([each.crop_rgb for each in aligned])
        heads = forward_crops(self._model, self._processor, crops, geometry)
        return [{name: values[row] for name, values in heads.items()} for row in range(len(crops))]

    def image_probabilities(self, crops: np.ndarray) -> np.ndarray:
        """Return (N, 3) float64 probabilities of AFFECTS for N ≥ 1 crops, (N, S, S, 3) uint8, by the image stream alone.

        Mirrored and calibrated as in `predict`. Landmarks would not notice that something is covered, so tests that
        cover parts of a face leave them out.
        """
        logits = forward_crops(self._model, self._processor, crops)["logits"]
        return affect_probabilities(logits, self.temperature, self.affects)

    def view_labels(self, crops: np.ndarray, face: Face | None = None) -> np.ndarray:
        """Return the (N,) str affect of each of N changed crops of one face, (N, S, S, 3) uint8, none averaged with its mirror image.

        In the precision of explanations, which changes a label only where two affects are all but equal.
        """
        network, _ = self._model_to_explain()
        geometry = None
        if face is not None and _takes_geometry(self._model):
            geometry = np.repeat(geometry_features(face)[None], len(crops), axis=0)
        heads = forward_crops(network, self._processor, crops, geometry, mirror=False)
        return np.array(AFFECTS)[affect_probabilities(heads["logits"], self.temperature, self.affects).argmax(1)]

    def pixel_values(self, aligned: AlignedFace) -> torch.Tensor:
        """Return the crop as the model takes it: (1, 3, S, S) float32, scaled and normalized, no pixel moved."""
        return self.inputs(aligned.crop_rgb[None])

    def inputs(self, crops: np.ndarray) -> torch.Tensor:
        """Return (N, 3, S, S) float32 for (N, S, S, 3) uint8 crops, as `pixel_values`."""
        return model_inputs(self._processor, crops).to(self.device)

    def score_of(self, affect: str, aligned: AlignedFace, face: Face | None = None, versus: str | None = None) -> Score:
        """Return the differentiable score that is explained: (B, 3, S, S) to (B,) logits of one affect, not mirrored.

        With `versus`, another affect's logit is subtracted. Emotion checkpoints give the log of the summed exponentials of
        the affect's emotions. The geometry of `face` is held fixed, so the map concerns the image stream.
        """
        unknown = [name for name in (affect, versus) if name not in (None, *AFFECTS)]
        if unknown:
            raise CheckpointError(f"The checkpoint knows no {unknown[0]!r}; choose one of {', '.join(AFFECTS)}.")
        if affect == versus:
            same = Message("'{affect}' cannot be compared with itself.", affect=(affect,))
            raise CheckpointError(Message.joined(same, "Choose another class."))
        network, precision = self._model_to_explain()
        indices = [[index for index, name in enumerate(self.affects) if name == each] for each in AFFECTS]
        geometry = None
        if face is not None and _takes_geometry(self._model):
            geometry = torch.from_numpy(geometry_features(face))[None].to(self.device)
        return Score(
            AffectLogits(network, indices, self.temperature, geometry).eval(), affect, versus, precision, self.device
        )

    def prediction(self, heads: dict[str, torch.Tensor]) -> Prediction:
        """Convert the heads of `output` to probabilities. Raises CheckpointError when it is not finite."""
        if not all(bool(torch.isfinite(values).all()) for values in heads.values()):
            raise CheckpointError(Message(NOT_FINITE, name=self.name))
        named = dict.fromkeys(map(canonical_label, self.labels), 0.0)
        shares = (heads["logits"].double() / self.temperature).softmax(-1).tolist()
        for name, share in zip(self.labels, shares, strict=True):
            named[canonical_label(name)] += share
        totals = sum_to_affect(named)
        probabilities = {affect: totals[affect] / sum(totals.values()) for affect in AFFECTS}
        label = max(probabilities, key=probabilities.__getitem__)
        optional = _optional_heads(heads, AFFECTS.index(label))
        if is_emotions(self.labels):
            optional["emotions"] = named
        return Prediction(label, probabilities, **optional)

    def _model_to_explain(self) -> tuple[torch.nn.Module, str]:
        """Return the copy whose input gradients are computed, made at the first explanation, and its precision."""
        with self._copying:
            self._explained = self._explained or explained_copy(self._model, self.crop.size, self._precision)
            return self._explained


def affect_probabilities(logits: torch.Tensor, temperature: float, affects: Sequence[str]) -> np.ndarray:
    """Return (N, 3) float64 probabilities, in the order of AFFECTS, of (N, C) logits whose C classes show these `affects`."""
    return summed_by_affect((logits.double() / temperature).softmax(-1).numpy(), affects)


def summed_by_affect(shares: np.ndarray, affects: Sequence[str]) -> np.ndarray:
    """Return (N, 3) sums, in the order of AFFECTS, of the (N, C) probabilities of C classes that show these `affects`."""
    return np.stack([shares[:, np.array(affects) == affect].sum(1) for affect in AFFECTS], 1)


def model_inputs(processor, crops: np.ndarray) -> torch.Tensor:
    """Return (N, 3, S, S) float32 for (N, S, S, 3) uint8 crops, as the checkpoint's processor scales and normalizes them.

    Crops have the model's size already: nothing is resized or cut.
    """
    return processor(images=list(crops), do_resize=False, do_center_crop=False, return_tensors="pt")["pixel_values"]


@torch.inference_mode()
def forward_crops(
    model: torch.nn.Module,
    processor,
    crops: np.ndarray,
    geometry: np.ndarray | None = None,
    found: np.ndarray | None = None,
    batch_size: int = 64,
    mirror: bool | None = None,
) -> dict[str, torch.Tensor]:
    """Return the output of every head of `model` for N ≥ 1 crops: (N, ...) float32 tensors on the CPU, "logits" among them.

    "features" are (N, D), what the affect layer is given, and "member_logits" (N, M, C), where an ensemble has M members.
    `crops` are (N, S, S, 3) uint8. A model with a geometry stream also takes (N, G) float32 `geometry`; where the (N,) bool
    `found` is False the image stream answers alone. With `mirror`, by default the config's `test_time_mirror`, outputs are
    averaged over the crop and its mirror image (geometry unchanged). At most `batch_size` views are in the model at once. The
    model is put in evaluation mode and computes on its own device. Logits are not divided by the temperature.
    """
    model.eval()
    device = next(model.parameters()).device
    mirror = bool(getattr(model.config, "test_time_mirror", False)) if mirror is None else mirror
    step = max(1, batch_size // 2) if mirror else batch_size
    batches = []
    for start in range(0, len(crops), step):
        rows = slice(start, start + step)
        views = model_inputs(processor, crops[rows]).to(device)
        count, streams = len(views), {}
        views = torch.cat([views, views.flip(-1)]) if mirror else views
        if geometry is not None and _takes_geometry(model):
            present = np.ones(count, bool) if found is None else found[rows]
            repeats = len(views) // count
            streams["geometry"] = torch.from_numpy(geometry[rows]).to(device).repeat(repeats, 1)
            streams["found"] = torch.from_numpy(present).to(device).repeat(repeats)
        with recorded(model) as recorder:
            output = model(pixel_values=views, **streams)
        heads = {name: output[name] for name in _heads(output, len(views))} | recorder.heads()
        batches.append({name: _mean_over_views(values, count) for name, values in heads.items()})
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def member_disagreement(member_logits: torch.Tensor) -> torch.Tensor:
    """Return (...) nats: the entropy of the members' mean minus their mean entropy, for (..., M, C) logits (Houlsby et al. 2011)."""
    shares = member_logits.double().softmax(-1)
    of_mean, of_members = torch.special.entr(shares.mean(-2)).sum(-1), torch.special.entr(shares).sum(-1)
    return (of_mean - of_members.mean(-1)).clamp_min(0)


def _heads(output, count: int) -> list[str]:
    """Return the names of a model output's tensors that have one row per view."""
    return [
        name for name, values in output.items() if isinstance(values, torch.Tensor) and values.shape[:1] == (count,)
    ]


def _mean_over_views(values: torch.Tensor, count: int) -> torch.Tensor:
    """Return the (count, ...) float32 mean of (views · count, ...) outputs, on the CPU."""
    return values.float().unflatten(0, (-1, count)).mean(0).cpu()


def _takes_geometry(model: torch.nn.Module) -> bool:
    return getattr(model, "takes_geometry", False)


def _optional_heads(heads: dict[str, torch.Tensor], chosen: int) -> dict:
    """Return the fields of Prediction that the model's further heads fill; a head that it lacks fills none."""
    fields: dict[str, Any] = {}
    for name, head, classes in (("emotions", "emotion_logits", EMOTIONS), ("age_groups", "age_logits", AGE_GROUPS)):
        if head in heads:
            fields[name] = dict(zip(classes, heads[head].double().softmax(-1).tolist(), strict=True))
    for name in ("usable", "eyes_closed", "mouth_covered"):
        if f"{name}_logit" in heads:
            fields[name] = float(heads[f"{name}_logit"].sigmoid())
    if "action_unit_logits" in heads:
        strengths = heads["action_unit_logits"].double().sigmoid().tolist()
        fields["action_units"] = dict(zip(ACTION_UNITS, strengths, strict=True))
    if "valence_arousal" in heads:
        valence, arousal = heads["valence_arousal"].tolist()
        fields |= {"valence": min(max(valence, -2.0), 2.0), "arousal": min(max(arousal, 0.0), 2.0)}
    if "features" in heads:
        fields["features"] = heads["features"].numpy()
    if "member_logits" in heads:
        fields["disagreement"] = float(member_disagreement(heads["member_logits"]))
    if "geometry_logits" in heads:
        streams = {"image": heads["image_logits"], "geometry": heads["geometry_logits"]}
        sizes = {name: float((logits - logits.mean()).abs()[chosen]) for name, logits in streams.items()}
        total = sum(sizes.values())
        fields["streams"] = {name: size / total if total else 0.5 for name, size in sizes.items()}
    return fields


def _device(requested: str) -> str:
    """Return the device to use; "auto" takes a GPU if there is one. Raises CheckpointError for one that is not there."""
    present = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if requested == "auto":
        return present[0]
    if requested.split(":")[0] not in present:
        raise CheckpointError(f"There is no device {requested!r} here; choose auto or {' or '.join(present)}.")
    return requested
