"""Define what is changed in a picture: each factor with its levels and the reference they are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from infant_fer.synthetic.lab import TONES as LAB_TONES
from infant_fer.synthetic.occluders import OCCLUDERS
from infant_fer.synthetic.scene import Light, View

PLAIN = ""  # the factor and the level of the picture in which nothing was changed
SIZE = 192  # px: the face's crop is then about as large as the input of small models
LIGHT = Light(key=(6.0, 6.0, 6.0), sharpness=7.0, room=(0.25, 0.25, 0.25))  # a lamp, so that its direction shows

TONES = dict(zip(("very light", "light", "intermediate", "tan", "brown", "dark"), LAB_TONES.tolist(), strict=True))


@dataclass(frozen=True)
class Factor:
    """One thing that changes. Its reference is one of its own levels, or the plain picture."""

    name: str
    levels: dict[str, tuple[str, object]]  # name: the field that changes (as in Scene.with_changed), and its value
    reference: str = PLAIN
    plain_words: str = ""  # what the plain picture shows of this


FACTORS: dict[str, Factor] = {
    factor.name: factor
    for factor in (
        Factor("skin tone", {name: ("infant.colours.skin", tuple(rgb)) for name, rgb in TONES.items()}, "intermediate"),
        Factor(
            "light from",
            {
                "the left": ("light.azimuth", -80.0),
                "the right": ("light.azimuth", 80.0),
                "above": ("light.elevation", 85.0),
                "below": ("light.elevation", -30.0),
            },
            plain_words=f"the front, {LIGHT.azimuth:.0f}° to the right, {LIGHT.elevation:.0f}° up",
        ),
        Factor(
            "brightness",
            {
                name: ("light.exposure", exposure)
                for name, exposure in (("very dim", 0.12), ("dim", 0.4), ("glaring", 2.6))
            },
            plain_words=f"{LIGHT.exposure} (very dim is 0.12, dim 0.4, glaring 2.6)",
        ),
        Factor(
            "head turn",
            {
                "15° aside": ("view.yaw", 15.0),
                "30° aside": ("view.yaw", 30.0),
                "45° aside": ("view.yaw", 45.0),
                "20° up": ("view.pitch", -20.0),
                "20° down": ("view.pitch", 20.0),
                "tilted 45°": ("view.roll", 45.0),
            },
            plain_words="upright, towards the camera",
        ),
        Factor(
            "age",
            {
                "newborn": ("infant.age", -0.3),
                "young baby": ("infant.age", -0.15),
                "baby": ("infant.age", 0.0),
                "toddler": ("infant.age", 0.12),
            },
            "baby",
        ),
        Factor("occluder", {kind: ("occluder", kind) for kind in OCCLUDERS}, plain_words="nothing"),
        Factor(
            "blur",
            {f"{px} px": ("view.blur", float(px)) for px in (2, 4, 8)},
            plain_words="0 px (deviation, in px of a 512 px picture)",
        ),
        Factor(
            "noise",
            {"5 %": ("view.grain", 0.05), "10 %": ("view.grain", 0.1)},
            plain_words=f"{View().grain * 100:g} % (deviation, of the full range)",
        ),
        Factor(
            "JPEG quality",
            {"30": ("view.jpeg", 30), "10": ("view.jpeg", 10)},
            plain_words="not compressed",
        ),
        Factor(
            "picture size",
            {f"{px} px": ("size", px) for px in (96, 64, 48)},
            plain_words=f"{SIZE} px, pupils {SIZE * View().zoom:.0f} px apart",
        ),
        Factor(
            "background",
            {"another": ("view.background", 1), "a third": ("view.background", 2)},
            plain_words="the infant's own (on the face only the grain changes: what any other picture would do)",
        ),
    )
}
