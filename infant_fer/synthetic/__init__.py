"""Parametric 3-D infant portraits with known facial actions: `sample_infant(seed).express(actions)`, `render(mesh, view, light)`."""

from infant_fer.synthetic.expressions import EXPRESSIONS, sample_expression
from infant_fer.synthetic.infant import Infant, Mesh, sample_infant
from infant_fer.synthetic.occluders import OCCLUDERS, Occluder, sample_occluder
from infant_fer.synthetic.portrait import Portrait, render
from infant_fer.synthetic.scene import Light, View, sample_light, sample_view

__all__ = [
    "EXPRESSIONS",
    "OCCLUDERS",
    "Infant",
    "Light",
    "Mesh",
    "Occluder",
    "Portrait",
    "View",
    "render",
    "sample_expression",
    "sample_infant",
    "sample_light",
    "sample_occluder",
    "sample_view",
]
