"""Describe camera, head pose, light and background; they can be drawn or set by hand."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

FAR_PX = 96  # side in which the background is drawn
LIGHTS = 48  # directions that stand for the whole sky


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
        """Return the (3, 3) rotation of the head; applied to column vectors."""
        yaw, pitch, roll = np.radians((self.yaw, self.pitch, self.roll))
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        return tilt @ nod @ turn


@dataclass(frozen=True)
class Light:
    """A key light in a bright room."""

    azimuth: float = 25.0  # degrees from the camera to its right
    elevation: float = 35.0  # degrees above the horizon
    key: tuple[float, float, float] = (2.5, 2.5, 2.5)  # linear RGB
    sharpness: float = 4.0  # 3 is a large window, 8 a lamp
    room: tuple[float, float, float] = (0.70, 0.74, 0.80)  # linear RGB, from everywhere, more from above
    exposure: float = 0.95

    @property
    def direction(self) -> np.ndarray:
        """Return the (3,) unit vector towards the key light."""
        azimuth, elevation = np.radians((self.azimuth, self.elevation))
        return np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])

    def sky(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (K, 3) unit directions spread evenly over all but the lowest sky, and the (K, 3) light from each."""
        step = np.arange(LIGHTS) + 0.5
        height, turn = 1 - 1.75 * step / LIGHTS, np.pi * (1 + 5**0.5) * step
        flat = np.sqrt(1 - height**2)
        towards = np.stack([np.cos(turn) * flat, height, np.sin(turn) * flat], 1)
        near_key = np.exp((towards @ self.direction - 1) * self.sharpness)
        light = np.array(self.room) * (0.55 + 0.45 * towards[:, 1:2]) + np.array(self.key) * near_key[:, None]
        facing = (np.maximum(towards[:, 2], 0)[:, None] * light).sum(0).mean()
        return towards, light / facing * self.exposure


def sample_view(random: np.random.Generator, turned: float = 1.0) -> View:
    """Draw the view of a snapshot: mostly frontal, at `turned` times the usual angles."""
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
    red, green, blue = (float(strength * part) for part in (1 + warm, 1, 1 - warm))
    return Light(
        azimuth=float(random.uniform(-60, 60)),
        elevation=float(random.uniform(10, 55)),
        key=(red, green, blue),
        sharpness=float(random.uniform(2.5, 6)),
        exposure=float(random.uniform(0.8, 1.1)),
    )


def background(view: View, size: int) -> np.ndarray:
    """Return (S, S, 3) float32 linear RGB: a wall, a floor and a few things, far out of focus, drawn from the view's seed."""
    random = np.random.default_rng(view.background)
    wall, bed = _muted(random), _muted(random)
    picture = np.empty((FAR_PX, FAR_PX, 3), np.float32)
    fall = np.linspace(-1, 1, FAR_PX, dtype=np.float32)
    picture[:] = wall * (
        1 + random.uniform(-0.3, 0.3) * fall[None, :, None] + random.uniform(-0.25, 0.1) * fall[:, None, None]
    )
    horizon = int(random.uniform(0.35, 1.3) * FAR_PX)
    picture[horizon:] = bed * (1 + 0.2 * fall[: max(0, FAR_PX - horizon), None, None])
    for _ in range(random.integers(2, 6)):
        _put_thing(picture, random)
    picture[:] = cv2.GaussianBlur(
        picture, (0, 0), random.uniform(3.5, 9.0) * FAR_PX / 96, borderType=cv2.BORDER_REPLICATE
    )
    return np.maximum(cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC), 0)


def _put_thing(picture: np.ndarray, random: np.random.Generator) -> None:
    """Draw something square or round into the picture; now and then a window or a lamp, which is bright."""
    colour = _muted(random) * (random.uniform(2.0, 3.5) if random.random() < 0.2 else 1.0)
    x, y = random.uniform(-0.1, 1.1, 2) * FAR_PX
    wide, high = random.uniform(0.08, 0.35, 2) * FAR_PX
    centre, half = (int(x), int(y)), (int(wide), int(high))
    if random.random() < 0.5:
        cv2.ellipse(picture, centre, half, random.uniform(0, 180), 0, 360, colour.tolist(), -1, cv2.LINE_AA)
    else:
        first, last = (centre[0] - half[0], centre[1] - half[1]), (centre[0] + half[0], centre[1] + half[1])
        cv2.rectangle(picture, first, last, colour.tolist(), -1)


def _muted(random: np.random.Generator) -> np.ndarray:
    """Draw the (3,) linear RGB of a thing in a room: mostly beige, gray and white, sometimes a colour."""
    bright, warm = random.uniform(0.08, 0.7), random.uniform(-0.15, 0.35)
    colour = bright * np.array([1 + 0.5 * warm, 1.0, 1 - warm])
    return colour * random.uniform(0.75, 1.2, 3) if random.random() < 0.4 else colour
