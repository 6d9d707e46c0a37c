"""Does the wheel hold what an installed package needs, and does it run from an empty folder?"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import EXAMPLES, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", folder, ROOT]
    subprocess.run(command, cwd=folder, check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_package_its_data_and_the_embedded_checkpoint_only(wheel):
    listed = subprocess.run(["git", "ls-files", "infant_fer"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {line for line in listed.stdout.splitlines() if (ROOT / line).is_file()}
    checkpoint = {
        f"infant_fer/checkpoints/embedded/infant-fer-small/{path.name}"
        for path in (ROOT / "checkpoints" / "infant-fer-small").iterdir()
    }
    assert "infant_fer/checkpoints/embedded/infant-fer-small/model.safetensors" in checkpoint
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert tracked | checkpoint <= held
    others = {name for name in held - tracked - checkpoint if not name.endswith(".py")}
    assert not others, "neither private checkpoints nor generated files belong in a wheel"


def test_an_installed_package_reads_a_photo_from_an_empty_folder(wheel, tmp_path):
    target, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel]
    subprocess.run(install, check=True)
    code = (
        "import infant_fer; from infant_fer import Analyzer; print(infant_fer.__file__);"
        f"print(Analyzer.from_pretrained().analyze({str(EXAMPLES / 'smile.jpg')!r}).faces[0].prediction.label)"
    )
    environment = {**os.environ, "PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", code], cwd=empty, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    home, label = run.stdout.split()
    assert Path(home).is_relative_to(target)
    assert label == "positive"
    script = [target / "bin" / "infant-fer", EXAMPLES / "smile.jpg"]
    run = subprocess.run(script, cwd=empty, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "positive" in run.stdout
    assert not list(empty.iterdir())
