"""Parametric 3-D infant portraits with known facial actions: `sample_infant(seed).express(actions)`, `render(mesh, view, light)`."""

from infant_fer.synthetic.covers import COVERS, Cover, sample_cover
from infant_fer.synthetic.expressions import EXPRESSIONS, sample_expression
from infant_fer.synthetic.infant import Infant, Mesh, sample_infant
from infant_fer.synthetic.portrait import Portrait, render
from infant_fer.synthetic.scene import Light, View, sample_light, sample_view

__all__ = [
    "COVERS",
    "EXPRESSIONS",
    "Cover",
    "Infant",
    "Light",
    "Mesh",
    "Portrait",
    "View",
    "render",
    "sample_cover",
    "sample_expression",
    "sample_infant",
    "sample_light",
    "sample_view",
]
