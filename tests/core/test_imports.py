"""What importing a module loads: pure modules stay free of the heavy libraries."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = ("torch", "mediapipe", "transformers", "gradio", "captum", "sklearn", "pandas", "matplotlib", "cv2")


def loaded_by(module: str) -> set[str]:
    """Return the heavy libraries that a fresh interpreter has loaded after importing `module`."""
    code = f"import sys, {module}; print(*(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("infant_fer", HEAVY),
        ("infant_fer.__main__", {"torch", "mediapipe", "transformers", "gradio", "captum", "sklearn", "pandas"}),
        ("infant_fer.face", HEAVY),
        ("infant_fer.alignment", set(HEAVY) - {"cv2"}),
        ("infant_fer.face_search", set(HEAVY) - {"cv2"}),
        ("infant_fer.regions", set(HEAVY) - {"cv2"}),
        ("infant_fer.report", set(HEAVY) - {"cv2"}),
        ("infant_fer.classifier", {"mediapipe", "captum", "gradio", "sklearn"}),
        ("infant_fer.metrics", {"torch", "mediapipe", "gradio", "sklearn"}),
        ("infant_fer.audit", {"gradio", "sklearn"}),
        ("infant_fer.audit.__main__", {"gradio", "sklearn"}),
    ],
)
def test_importing_a_module_loads_only_what_it_needs(module, absent):
    assert not loaded_by(module) & set(absent)
