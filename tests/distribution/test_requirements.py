"""Do the requirements files agree with pyproject.toml and with one another?"""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCKS = ("requirements.lock", "requirements-dev.lock")


def _pins(name: str) -> dict[str, str]:
    """Return {package: version} of a requirements file."""
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT / name).read_text("utf-8"), flags=re.MULTILINE)
    return {str(canonicalize_name(package)): version for package, version in found}


def _direct(*extras: str) -> list[Requirement]:
    project = PROJECT["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("requirements.txt", ("video",)),
        ("requirements-train.txt", ("video", "train")),
        ("requirements-cluster.txt", ("video", "cluster")),
        ("requirements.lock", ("video",)),
        ("requirements-dev.lock", tuple(PROJECT["project"]["optional-dependencies"])),
    ],
)
def test_every_direct_dependency_is_pinned_within_its_range(name, extras):
    pins = _pins(name)
    for requirement in _direct(*extras):
        if requirement.name == "torch" and name in LOCKS:
            assert "torch" not in pins, "torch's build differs by computer: the Makefile installs it"
            continue
        version = pins.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not in {name}: run make lock"
        assert requirement.specifier.contains(version), f"{name} has {requirement.name} {version}: run make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_of_a_lock_has_a_hash(name):
    blocks = re.split(r"\n(?=[\w.-]+==)", (ROOT / name).read_text("utf-8"))[1:]
    assert len(blocks) == len(_pins(name)) > 80
    assert not [block for block in blocks if "--hash=sha256:" not in block]


@pytest.mark.parametrize(
    "name", [*LOCKS, *(f"requirements{part}.txt" for part in ("", "-train", "-cluster", "-synthetic"))]
)
def test_all_files_pin_the_same_versions(name):
    everything = _pins("requirements-train.txt") | _pins("requirements-dev.lock")
    assert _pins(name).items() <= everything.items()


def test_a_space_starts_with_the_pinned_gradio():
    front_matter = (ROOT / "README.md").read_text("utf-8").split("---")[1]
    assert f"sdk_version: {_pins('requirements.txt')['gradio']}\n" in front_matter
    # A Space's build adds packages of its own to the command, which pip refuses beside hashes.
    assert "--hash" not in (ROOT / "requirements.txt").read_text("utf-8")


def test_both_builds_of_opencv_have_one_version():
    pins = _pins("requirements.lock")
    assert pins["opencv-python"] == pins["opencv-contrib-python"]
