"""What colour are eyes? White, iris, pupil and the ring about the iris, by radii of the eyeball."""

from __future__ import annotations

import numpy as np

from infant_fer.synthetic.infant import Colours
from infant_fer.synthetic.shading.points import over, rise

WHITE = (0.70, 0.71, 0.74)  # a little blue in infants
IRIS, PUPIL = 0.50, 0.21  # radii in those of the eyeball; infants' irises fill the opening


def eye_colour(on_eye: np.ndarray, colours: Colours) -> np.ndarray:
    """(E, 3) linear RGB for points given as (E, 3) radii of the eyeball, the front at +z."""
    x, y, z = on_eye.T
    radius, angle = np.where(z > 0, np.hypot(x, y), 2), np.arctan2(y, x)
    rays = 1 + 0.22 * np.sin(angle * 31 + 3 * np.sin(angle * 7)) * rise(radius, PUPIL, PUPIL + 0.1)
    depth = (
        0.55 + 0.75 * rise(radius, PUPIL, IRIS) + 0.35 * rise(-y, -0.1, 0.4)
    )  # light falls in from above, on the lower half
    iris = np.array(colours.iris) * (rays * depth)[:, None]
    white = np.array(WHITE) * (1 - 0.30 * rise(np.abs(x), 0.5, 1.0))[:, None] * [1, 0.97, 0.96]
    eye = over(white, iris, 1 - rise(radius, IRIS - 0.03, IRIS + 0.05))
    eye = over(eye, iris * 0.25, 0.75 * np.exp(-(((radius - IRIS) / 0.05) ** 2)))
    eye = over(eye, (0.003,) * 3, 1 - rise(radius, PUPIL - 0.03, PUPIL + 0.03))
    return eye * (1 - 0.45 * rise(y, 0.15, 0.55))[:, None]  # the lid and its lashes throw a shadow
