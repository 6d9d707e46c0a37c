"""From where is the infant looked at, and in what light? Both can be drawn or set by hand."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

LIGHTS = 32  # directions that stand for the whole sky


@dataclass(frozen=True)
class View:
    """A camera and the head before it. Lengths are in distances between the pupils, angles in degrees."""

    yaw: float = 0.0  # the face turns to its left
    pitch: float = 0.0  # the face nods down
    roll: float = 0.0  # the head tilts to its right shoulder
    distance: float = 11.0  # of the camera: near cameras make noses large
    zoom: float = 0.22  # distance between the pupils as a share of the picture's side
    shift: tuple[float, float] = (0.0, 0.0)  # of the face in the picture, right and down, as shares of its side
    background: int = 0  # seed
    grain: float = 0.006  # deviation of the sensor's noise, of 1
    blur: float = 0.0  # px of a 512 px picture
    jpeg: int = 0  # quality; 0 leaves it out

    def rotation(self) -> np.ndarray:
        """(3, 3): turns the head; applied to column vectors."""
        yaw, pitch, roll = np.radians((self.yaw, self.pitch, self.roll))
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        return tilt @ nod @ turn

    def told(self) -> dict:
        """Every parameter, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Light:
    """A key light in a bright room."""

    azimuth: float = 25.0  # degrees from the camera to its right
    elevation: float = 35.0  # degrees above the horizon
    key: tuple[float, float, float] = (2.5, 2.5, 2.5)  # linear RGB
    sharpness: float = 4.0  # 3 is a large window, 8 a lamp
    room: tuple[float, float, float] = (0.85, 0.9, 0.95)  # linear RGB, from everywhere, more from above
    exposure: float = 1.1

    @property
    def direction(self) -> np.ndarray:
        """(3,): the unit vector towards the key light."""
        azimuth, elevation = np.radians((self.azimuth, self.elevation))
        return np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])

    def sky(self) -> tuple[np.ndarray, np.ndarray]:
        """(K, 3) unit directions spread evenly over all but the lowest sky, and the (K, 3) light that comes from each."""
        step = np.arange(LIGHTS) + 0.5
        height, turn = 1 - 1.75 * step / LIGHTS, np.pi * (1 + 5**0.5) * step
        flat = np.sqrt(1 - height**2)
        towards = np.stack([np.cos(turn) * flat, height, np.sin(turn) * flat], 1)
        near_key = np.exp((towards @ self.direction - 1) * self.sharpness)
        light = np.array(self.room) * (0.55 + 0.45 * towards[:, 1:2]) + np.array(self.key) * near_key[:, None]
        facing = (np.maximum(towards[:, 2], 0)[:, None] * light).sum(0).mean()
        return towards, light / facing * self.exposure

    def told(self) -> dict:
        """Every parameter, ready for JSON."""
        return asdict(self)


def sample_view(random: np.random.Generator, turned: float = 1.0) -> View:
    """Draw a view as of a snapshot: mostly frontal, by `turned` times the usual angles."""
    return View(
        yaw=float(random.normal(0, 9 * turned)),
        pitch=float(random.normal(0, 5 * turned)),
        roll=float(random.normal(0, 6 * turned)),
        distance=float(random.uniform(8, 14)),
        zoom=float(random.uniform(0.2, 0.245)),
        shift=(float(random.normal(0, 0.012)), float(random.normal(0, 0.012))),
        background=int(random.integers(2**31)),
        grain=float(random.uniform(0.003, 0.014)),
        blur=float(max(0.0, random.normal(0.2, 0.4))),
        jpeg=int(random.integers(70, 96)),
    )


def sample_light(random: np.random.Generator) -> Light:
    """Draw a light: from a side, above the horizon, warmer or colder."""
    warm, strength = random.uniform(-0.08, 0.12), random.uniform(1.2, 3.5)
    return Light(
        azimuth=float(random.uniform(-60, 60)),
        elevation=float(random.uniform(10, 55)),
        key=tuple(float(strength * part) for part in (1 + warm, 1, 1 - warm)),
        sharpness=float(random.uniform(2.5, 6)),
        exposure=float(random.uniform(0.9, 1.3)),
    )


def background(view: View, size: int) -> np.ndarray:
    """(S, S, 3) float32 linear RGB: an unsharp room of broad patches, drawn from the view's seed."""
    import cv2

    random = np.random.default_rng(view.background)
    colours = random.uniform(0.03, 0.75, (3, 3))
    grey = random.uniform(0.4, 0.85)
    colours = colours * (1 - grey) + colours.mean(1, keepdims=True) * grey
    weights = []
    for cells in (3, 4, 6):
        field = random.uniform(-1, 1, (cells, cells)).astype(np.float32)
        weights.append(cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC))
    share = np.exp(3 * np.stack(weights, 2))
    share /= share.sum(2, keepdims=True)
    return (share @ colours).astype(np.float32)
