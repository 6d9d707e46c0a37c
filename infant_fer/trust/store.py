"""What must be kept with a checkpoint to say how far its answers hold? Fit it on held-out faces, save it, load it checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from infant_fer.checkpoints.safety import TRUST_SETTINGS as SETTINGS
from infant_fer.checkpoints.safety import TRUST_TENSORS as TENSORS
from infant_fer.errors import CheckpointError
from infant_fer.files import write_atomically
from infant_fer.labels import AFFECTS
from infant_fer.metrics import auc, risk_coverage
from infant_fer.trust.calibration import Reliability
from infant_fer.trust.conformal import PredictionSets
from infant_fer.trust.distance import KINDS, RELATIVE, Distance, Gaussian, InfantProbe
from infant_fer.trust.figures import TrustFigures

if TYPE_CHECKING:  # loads torch
    from infant_fer.trust.outputs import FaceOutputs

T = TypeVar("T")
VERSION = 1
MAX_BYTES = 64 * 2**20
# Errors among the answers that are given without caution. On dev (n = 460) the released ensemble allows at most 84 % of faces
# at this risk by doubt alone, and no logistic mixture with label, disagreement, distance or heads (cross-fitted) allows more.
RISK = 0.02
FAR = 0.99  # of the held-out infants are below the limit of distance, and of disagreement: 2 % for both at most
INFANTS_LOST = 0.02  # of the held-out infants' faces, by the limit of an infant's probability
QUANTILES = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class TrustRows:
    """The faces that trust data are fitted on: training and held-out infants, and if there are some, other faces likewise.

    `distance` is the one of trust.distance.KINDS that is kept; None is the best of them.
    """

    train: FaceOutputs
    dev: FaceOutputs
    others_train: FaceOutputs | None = None
    others_dev: FaceOutputs | None = None
    distance: str | None = None


@dataclass(frozen=True)
class Limits:
    """Where caution begins. None: this is not judged."""

    doubt: float  # nats; above it the stated risk would be exceeded
    risk: float = RISK
    disagreement: float | None = None  # nats, between ensemble members
    distance: float | None = None
    infant: float | None = None  # least probability of an infant's face, by the "usable" head or else by the probe


@dataclass(frozen=True, eq=False)
class TrustData:
    """Calibration, prediction sets, distances and limits of one checkpoint, whose weights have `fingerprint`."""

    fingerprint: str
    reliability: Reliability
    sets: PredictionSets
    limits: Limits
    agreement: tuple[float, float]  # log odds that two votes agree: at no doubt, and their change per nat of doubt
    distance: Distance | None = None
    distance_quantiles: np.ndarray | None = None  # (101,) of held-out infants
    probe: InfantProbe | None = None
    figures: Mapping[str, TrustFigures] = field(
        default_factory=dict
    )  # by split, measured on held-out faces, for the card

    @classmethod
    def fit(cls, fingerprint: str, rows: TrustRows) -> TrustData:
        """Fit everything that the rows allow. Raises CheckpointError when no held-out face has a label.

        Also where a distance is chosen for a checkpoint without features.
        """
        dev = rows.dev.labelled
        if not len(dev):
            raise CheckpointError("Trust data need held-out faces with an affect; there is none.")
        distance, quantiles, probe, limits = None, None, None, {}
        if rows.distance is not None and (rows.dev.features is None or rows.train.features is None):
            raise CheckpointError(f"The checkpoint shows no features, so it has no {rows.distance} distance.")
        if dev.usable is not None:
            limits["infant"] = float(np.quantile(dev.usable, INFANTS_LOST))
        if rows.dev.features is not None and rows.train.features is not None:
            distance = _best_distance(rows)
            found = distance.of(known(dev.features))
            quantiles = np.quantile(found, QUANTILES)
            limits["distance"] = float(np.quantile(found, FAR))
            if rows.others_train is not None and rows.dev.usable is None:
                probe = InfantProbe.fit(known(rows.train.labelled.features), known(rows.others_train.features))
                limits["infant"] = float(np.quantile(probe.of(known(dev.features)), INFANTS_LOST))
        if dev.disagreement is not None:
            limits["disagreement"] = float(np.quantile(dev.disagreement, FAR))
        return cls(
            fingerprint=fingerprint,
            reliability=Reliability.fit(AFFECTS, dev.probabilities, dev.truth),
            sets=PredictionSets.fit(AFFECTS, dev.probabilities, dev.truth),
            limits=Limits(doubt=doubt_limit(dev.doubt, dev.right), **limits),
            agreement=_agreement(rows.dev),
            distance=distance,
            distance_quantiles=quantiles,
            probe=probe,
        )

    def expected_agreement(self, doubt: np.ndarray | float) -> np.ndarray:
        """Return the chance that two labels, drawn with replacement, name the same affect, for doubts in nats."""
        from scipy.special import expit

        level, slope = self.agreement
        return expit(level + slope * np.asarray(doubt))

    def distance_rank(self, distance: float) -> float:
        """Return the share of held-out infants that are nearer to the training faces than this distance, 0..1."""
        return float(np.interp(distance, known(self.distance_quantiles), QUANTILES))

    def save(self, folder: Path) -> None:
        """Write trust.json and trust.safetensors into a checkpoint's folder."""
        from safetensors.numpy import save

        settings = {
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "reliability": self.reliability.to_dict(),
            "prediction_sets": {"thresholds": self.sets.thresholds, "coverage": self.sets.coverage},
            "limits": vars(self.limits),
            "agreement": list(self.agreement),
            "distance": None if self.distance is None else _distance_settings(self),
            "probe_bias": None if self.probe is None else self.probe.bias,
            "figures": {split: each.to_dict() for split, each in self.figures.items()},
        }
        tensors = save({name: np.ascontiguousarray(each) for name, each in _tensors(self).items()})
        settings["tensors_sha256"] = hashlib.sha256(tensors).hexdigest()
        write_atomically(folder / TENSORS, tensors)
        write_atomically(folder / SETTINGS, json.dumps(settings, indent=1))

    @classmethod
    def load(cls, folder: Path, fingerprint: str) -> TrustData | None:
        """Read what `save` wrote; None where the folder has none. The files may be anyone's: every value is checked.

        That they fit the model's features shows when a face is assessed, as AffectClassifier.from_pretrained does once.

        Raises CheckpointError when they are damaged, or belong to other weights than those with this fingerprint.
        """
        if not (folder / SETTINGS).is_file():
            return None
        try:
            settings = json.loads(_read(folder / SETTINGS))
            if settings["version"] != VERSION:
                raise CheckpointError(f"{SETTINGS} of {folder.name} is of another version. {_REFIT}")
            if settings["fingerprint"] != fingerprint:
                raise CheckpointError(f"{SETTINGS} of {folder.name} belongs to other weights. {_REFIT}")
            return _from_files(settings, _load_tensors(folder, settings.get("tensors_sha256")))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CheckpointError(
                f"{SETTINGS} or {TENSORS} of {folder.name} is damaged ({reason}). {_REFIT}"
            ) from error


_REFIT = "Fit it again with infant-fer trust, or delete the two files."


def known(values: T | None) -> T:
    """Return a value that the caller has made sure of."""
    assert values is not None
    return values


def doubt_limit(doubt: np.ndarray, right: np.ndarray, risk: float = RISK) -> float:
    """Return the largest doubt up to which at most a share `risk` of (N,) answers was wrong; -1 where there is none.

    Equally doubtful answers are all up to it, or none.
    """
    _, risks = risk_coverage(doubt, right)
    ordered = np.sort(doubt)
    last_of_equals = np.append(ordered[1:] > ordered[:-1], True)
    allowed = np.flatnonzero((risks <= risk) & last_of_equals)
    return float(ordered[allowed[-1]]) if len(allowed) else -1.0


def _best_distance(rows: TrustRows) -> Distance:
    """Return the rows' kind of distance, else that which tells infants from other faces best; without others, the first of KINDS."""
    train, dev = rows.train.labelled, rows.dev.labelled
    if rows.distance is not None:
        return Distance.fit(rows.distance, known(train.features), train.truth)
    kinds = [Distance.fit(kind, known(train.features), train.truth) for kind in KINDS]
    if rows.others_dev is None:
        return kinds[0]
    truth = np.arange(len(dev) + len(rows.others_dev)) >= len(dev)
    infants, others = known(dev.features), known(rows.others_dev.features)

    def separation(distance: Distance) -> float:
        return auc(np.concatenate([distance.of(infants), distance.of(others)]), truth)

    return max(kinds, key=separation)


def _agreement(dev: FaceOutputs) -> tuple[float, float]:
    """Fit the agreement of two votes to the doubt by logistic regression.

    It is the sum of their squared shares: the chance that two votes of a face, drawn with replacement, name one class. Tables
    give shares and not how many votes there were; of two votes that differ it is a half.

    Where every rater agrees always, there is nothing to fit, and the agreement is that of the probabilities.
    """
    from sklearn.linear_model import LogisticRegression

    voted = dev.rows(dev.votes.sum(1) > 0)
    observed = (voted.votes**2).sum(1)
    if observed.min() > 1 - 1e-6:  # then as if the votes were drawn from the probabilities
        observed = (voted.probabilities**2).sum(1)
    doubts = np.concatenate([voted.doubt, voted.doubt])[:, None]
    agreed = np.repeat([1, 0], len(voted))
    model = LogisticRegression(C=100.0).fit(doubts, agreed, sample_weight=np.concatenate([observed, 1 - observed]))
    return float(model.intercept_[0]), float(model.coef_[0, 0])


def _distance_settings(data: TrustData) -> dict:
    distance = known(data.distance)
    gaussians = {"classes": distance.classes, "everything": distance.everything}
    return {
        "kind": distance.kind,
        "quantiles": [float(each) for each in known(data.distance_quantiles)],
        "rest": {name: each.rest for name, each in gaussians.items() if each is not None},
    }


def _tensors(data: TrustData) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {} if data.probe is None else {"probe": data.probe.weights}
    if data.distance is not None:
        for name, each in (("classes", data.distance.classes), ("everything", data.distance.everything)):
            if each is not None:
                arrays = {"means": each.means, "directions": each.directions, "variances": each.variances}
                found |= {f"{name}.{key}": array.astype(np.float32) for key, array in arrays.items()}
    return found


def _read(file: Path) -> bytes:
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file.name} is larger than {MAX_BYTES} bytes")
    return file.read_bytes()


def _load_tensors(folder: Path, digest: str | None) -> dict[str, np.ndarray]:
    """Return the tensors of a folder. Raises ValueError where `digest`, if there is one, is that of another fit's."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = _read(folder / TENSORS)
        if digest not in (None, hashlib.sha256(content).hexdigest()):
            raise ValueError("the two files are of different fits")
        tensors = load(content)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    for name, values in tensors.items():
        if values.dtype != np.float32 or not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite float32")
    return tensors


def _from_files(settings: Mapping, tensors: Mapping[str, np.ndarray]) -> TrustData:
    """Return the trust data of checked files. Raises ValueError, KeyError or TypeError where something does not fit."""
    distance, quantiles = None, None
    if settings["distance"] is not None:
        kind, rest = settings["distance"]["kind"], settings["distance"]["rest"]
        if kind not in KINDS:
            raise ValueError(f"there is no distance {kind!r}")
        if ("everything" in rest) != (kind == RELATIVE):
            raise ValueError(f"the Gaussians are not those of the distance {kind!r}")
        quantiles = np.array(_numbers(settings["distance"]["quantiles"], len(QUANTILES)))
        everything = _gaussian("everything", tensors, rest) if "everything" in rest else None
        distance = Distance(kind, _gaussian("classes", tensors, rest), everything)
        if (np.diff(quantiles) < 0).any():
            raise ValueError("the quantiles fall")
    thresholds = settings["prediction_sets"]["thresholds"]
    sets = PredictionSets(
        dict(zip(AFFECTS, _numbers([thresholds[affect] for affect in AFFECTS], len(AFFECTS)), strict=True)),
        *_numbers([settings["prediction_sets"]["coverage"]], 1),
    )
    level, slope = _numbers(settings["agreement"], 2)
    limits = {name: value for name, value in settings["limits"].items() if value is not None}
    probe = None
    if settings["probe_bias"] is not None:
        probe = InfantProbe(_shaped(tensors["probe"], 1), *_numbers([settings["probe_bias"]], 1))
    return TrustData(
        fingerprint=settings["fingerprint"],
        reliability=Reliability.from_dict(settings["reliability"]),
        sets=sets,
        limits=Limits(**dict(zip(limits, _numbers(limits.values(), len(limits)), strict=True))),
        agreement=(level, slope),
        distance=distance,
        distance_quantiles=quantiles,
        probe=probe,
        figures={split: TrustFigures.from_dict(each) for split, each in settings["figures"].items()},
    )


def _gaussian(name: str, tensors: Mapping[str, np.ndarray], rest: Mapping) -> Gaussian:
    means, directions = (_shaped(tensors[f"{name}.{key}"], 2) for key in ("means", "directions"))
    variances = _shaped(tensors[f"{name}.variances"], 1)
    if directions.shape != (means.shape[1], len(variances)):
        raise ValueError(f"the shapes of {name} do not fit")
    (others,) = _numbers([rest[name]], 1)
    if others <= 0:
        raise ValueError(f"the rest of {name} is not above 0")
    return Gaussian(means, directions, variances, others)


def _shaped(values: np.ndarray, dimensions: int) -> np.ndarray:
    if values.ndim != dimensions or not values.size:
        raise ValueError(f"an array has the shape {values.shape}")
    return values


def _numbers(values, count: int) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != count or not all(map(isfinite, numbers)):
        raise ValueError("a number is missing or not finite")
    return numbers
