"""Read the facial expression of an infant from a photo, and see why.

>>> from infant_fer import Analyzer
>>> Analyzer.from_pretrained().analyze("photo.jpg").faces[0].prediction.label
"""

from importlib import import_module

__version__ = "0.1.0"
__all__ = ["AffectClassifier", "Analyzer", "Report"]

_HOMES = {"Analyzer": "analyzer", "AffectClassifier": "classifier", "Report": "report"}


def __getattr__(name: str):
    """Import on first use, so that `import infant_fer` does not load torch (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(f"infant_fer.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'infant_fer' has no attribute {name!r}")
