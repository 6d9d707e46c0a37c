"""Do the commands, options, files and links of the README and of CONTRIBUTING.md exist?"""

import csv
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from infant_fer.images import encode_png
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
BLOCKS = "\n".join(re.findall(r"^```\w*\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE))
TEXT = README + CONTRIBUTING


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT))))
def test_linked_files_exist(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    "path",
    sorted(
        set(
            re.findall(
                r"`((?:infant_fer|tests|benchmarks|checkpoints/infant-fer-small|data)/(?!\S*NAME)[\w./-]*)`", TEXT
            )
        )
    ),
)
def test_named_files_exist(path):
    assert (ROOT / path).exists()


def test_contributing_says_what_every_folder_holds():
    folders = {each.name for each in (ROOT / "infant_fer").iterdir() if (each / "__init__.py").is_file()}
    assert set(re.findall(r"^\| `(\w+)/` \|", CONTRIBUTING, flags=re.MULTILINE)) == folders


@pytest.mark.parametrize("path", sorted(set(re.findall(r"-r (requirements[\w.-]+)", TEXT))))
def test_named_requirements_exist(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)", TEXT)) - {"it"}))
def test_named_make_targets_exist(target):
    assert re.search(rf"^([a-z]+ )*{target}( [a-z]+)*:", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ((?:infant_fer|benchmarks)[\w.]*)", TEXT))))
def test_named_modules_exist(module):
    assert find_spec(module)


def _commands() -> dict[tuple[str, ...], set[str]]:
    """Return {command of README: its options} of the lines that start Python programs of ours."""
    commands: dict[tuple[str, ...], set[str]] = {}
    for line in BLOCKS.splitlines():
        found = re.match(r"python (-m infant_fer[\w.]*|\w+\.py)", line)
        if found:
            commands.setdefault(tuple(found[1].split()), set()).update(re.findall(r"--[a-z-]+", line))
        if line.startswith("infant-fer read"):
            commands[("-m", "infant_fer", "read")] = set(re.findall(r"--[a-z-]+", line))
    return commands


COMMANDS = _commands()
COMMANDS[("train.py",)] |= set(re.findall(r"^\| `(--[a-z-]+)", README, flags=re.MULTILINE)) | {"--drop-leaks"}
COMMANDS[("app.py",)] = {"--checkpoint", "--host", "--port", "--device"}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_have_the_named_options(command):
    run = subprocess.run([sys.executable, *command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert COMMANDS[command] <= set(re.findall(r"--[a-z-]+", run.stdout))


def test_the_commands_of_the_readme_were_found():
    assert {("train.py",), ("-m", "infant_fer.evaluate"), ("-m", "infant_fer.audit")} <= COMMANDS.keys()


def test_the_package_is_installed_from_its_folder():
    """It is on no index, where anybody could publish something under its name."""
    texts = [README, *(file.read_text("utf-8") for file in (ROOT / "docs").glob("*.md"))]
    named = [
        line for text in texts for line in text.splitlines() if re.search(r"pip install\b.*\binfant[_-]fer\b", line)
    ]
    assert named == []


def test_the_card_of_the_labels_says_what_they_hold():
    card = (ROOT / "data" / "README.md").read_text("utf-8")
    with (ROOT / "data" / "infant_labels.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for source in ("utkface", "fer2013"):
        raters = [row["raters"] for row in rows if row["source"] == source]
        assert f"{100 * raters.count('agree') / len(raters):.1f} % ({source})" in card
        assert f"{len(raters):,} rows" in card
    (flags,) = re.findall(r"^\| `flags` \| (.*) \|$", card, flags=re.MULTILINE)
    assert {each.split()[0] for each in re.split("[,;] ", flags)} == {flag for row in rows for flag in row["flags"]}


def test_the_example_in_python_needs_nothing_of_the_repository():
    (block,) = re.findall(r"run from any folder.*?```python\n(.*?)```", README, flags=re.DOTALL)
    assert not [path for path in re.findall(r'"([^"]*)"', block) if (ROOT / path).exists()]


@pytest.mark.parametrize("faces", [0, 1])
def test_the_example_in_python_runs_with_and_without_a_face(tmp_path, monkeypatch, capsys, faces):
    (block,) = re.findall(r"run from any folder.*?```python\n(.*?)```", README, flags=re.DOTALL)
    photo = (
        (ROOT / "examples" / "smile.jpg").read_bytes() if faces else encode_png(np.full((200, 200, 3), 128, np.uint8))
    )
    (tmp_path / "photo.jpg").write_bytes(photo)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block, names)
    assert len(names["report"].faces) == faces
    assert [face.explanation is not None for face in names["report"].faces] == [True] * faces
    assert capsys.readouterr().out.count("positive") >= faces
