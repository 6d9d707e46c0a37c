"""The record of an audit, its section in the card, and its command."""

import html
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from infant_fer.audit.__main__ import main
from infant_fer.audit.effects import CAUTION, Audit, audit_readings
from infant_fer.audit.matched import FACTORS, FIRST_INFANT, SIZE, matched_sets
from infant_fer.audit.reading import file_name, read
from infant_fer.audit.report import HEADING, audit_plot, audit_text, with_audit
from infant_fer.checkpoints import sources as checkpoints
from infant_fer.labels import AFFECTS
from infant_fer.synthetic.mesh import data as mesh_data
from tests.audit.readings import answered, levels_of, rendering
from tests.conftest import ROOT


@pytest.fixture
def audit():
    """Noise flips one of two infants, and every face is lost at the higher level; ages stay."""
    readings = []
    for infant, share in ((1, 0.9), (2, 0.2)):
        readings += [answered(infant, "", "", 0.9, 0.1, 0.0), answered(infant, "noise", "5 %", share, 0.1, 0.9 - share)]
        readings += [answered(infant, "noise", "10 %")]
        readings += [answered(infant, "age", level, 0.6, 0.4, 0.0) for level in FACTORS["age"].levels]
    return audit_readings("invented", readings, seed=0)


def test_the_record_is_json_even_where_nothing_is_known(audit):
    plain = json.loads(json.dumps(audit.to_dict(), allow_nan=False))
    noise, age = (next(each for each in plain["factors"] if each["factor"] == name) for name in ("noise", "age"))
    [five, ten] = noise["levels"]
    assert five["flips"] == {"value": 0.5, "right": 1, "n": 2, "interval95": pytest.approx([0.0945, 0.9055], abs=1e-4)}
    assert five["turns"] == {"positive → negative": 1}
    assert five["change"] == {"mean": -0.35, "interval": [-0.7, 0.0], "infants": 2}
    assert (ten["lost"]["value"], ten["flips"]["value"], ten["change"]["mean"]) == (1.0, None, None)
    assert [each["is_reference"] for each in age["levels"]] == [name == "baby" for name in FACTORS["age"].levels]
    assert plain["without_face"]["right"] == 2
    assert plain["most_flips"] == [["noise", "5 %"]]
    assert plain["caution"] == CAUTION
    assert Audit.from_dict(plain).to_dict() == plain


def test_records_of_earlier_versions_can_be_read(audit):
    older = {"count": 3, "n": 8, "share": 0.375, "interval": [0.137, 0.694]}
    plain = audit.to_dict() | {"plain_agreement": older, "caution": "As it was said then."}
    read_again = Audit.from_dict(plain)
    assert (read_again.plain_agreement.right, read_again.plain_agreement.n) == (3, 8)
    assert read_again.caution == "As it was said then."


def test_an_embedded_card_holds_the_embedded_audit():
    audits = sorted((ROOT / "checkpoints").glob("*/audit.json"))
    assert audits
    for file in audits:
        card = (file.parent / "README.md").read_text("utf-8")
        assert with_audit(card, Audit.from_dict(json.loads(file.read_text("utf-8")))) == card


def test_the_table_and_the_plot_stand_where_faces_are_lost(audit):
    text = audit_text(audit)
    assert "invented: 14 pictures of 2 rendered infants (smile; seed 0). No face in 14.3 %" in text
    assert "The label flips most with noise, 5 %: 50.0 % (9–91), n = 2." in text
    assert text.endswith(CAUTION)
    assert "nan" not in text
    assert "age (reference: baby)" in text.splitlines()
    assert audit_plot(audit).startswith(b"\x89PNG")


CARD = """# A card

## Figures
90 %

## Data and licence
Rendered.

## Limits
Many.
"""


def test_the_section_is_put_before_the_data_and_replaced_by_a_later_audit(audit):
    once = with_audit(CARD, audit)
    assert once.index("90 %") < once.index(HEADING) < once.index("Renders are not people") < once.index("## Data")
    assert (
        "| 5 % | 50.0 % (9–91), n = 2 | -0.35 (-0.70 to +0.00) | 0.0 % (0–66), n = 2 | 50.0 % (9–91), n = 2 |" in once
    )
    assert "| 10 % | – | – | 100.0 % (34–100), n = 2 | – |" in once
    assert "| baby | reference |  |  | 100.0 % (34–100), n = 2 |" in once
    assert with_audit(once, audit) == once
    later = with_audit(once, replace(audit, seed=17))
    assert "seed 17" in later
    assert "seed 0:" not in later
    assert later.count(HEADING) == 1
    start, end = once.index(HEADING), once.index("## Data")
    assert once[:start] + once[end:] == CARD


def test_a_card_without_a_data_section_gets_it_at_its_end(audit):
    once = with_audit("# Theirs\n\nNothing is said.\n", audit)
    assert once.startswith("# Theirs\n\nNothing is said.\n\n" + HEADING)
    assert with_audit(once, audit) == once
    assert with_audit("", audit).startswith(HEADING)


# --- end to end -------------------------------------------------------------------------------------------------------


class Photometer:
    """Stands for an analyzer: finds no face in the dark, and takes glare for a negative expression."""

    def analyze(self, image: np.ndarray) -> SimpleNamespace:
        light = np.median(image[SIZE // 3 : -SIZE // 3, SIZE // 3 : -SIZE // 3])
        shares = (0.0, 0.0, 1.0) if light > 185 else (0.5, 0.25, 0.25)
        prediction = SimpleNamespace(probabilities=dict(zip(AFFECTS, shares, strict=True)))
        return SimpleNamespace(faces=() if light < 75 else (SimpleNamespace(prediction=prediction),))


@rendering
def test_known_answers_come_out_as_they_were_given(tmp_path):
    pictures = matched_sets([FIRST_INFANT], ["smile"], ["brightness"])
    readings = [read(Photometer(), picture, tmp_path) for picture in pictures]
    assert [reading.label for reading in readings] == ["positive", None, "positive", "negative"]
    dim, less_dim, glaring = levels_of(readings, "brightness").values()
    assert (dim.lost.right, less_dim.lost.right, glaring.lost.right) == (1, 0, 0)
    assert glaring.turns == {"positive → negative": 1}
    assert glaring.change.value == -0.5
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(map(file_name, pictures))


def test_a_missing_package_is_said_in_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(mesh_data.importlib.util, "find_spec", lambda name: None)
    assert main([]) == 1
    assert capsys.readouterr().err == mesh_data.HOW_TO_GET + "\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--json", "nowhere/audit.json"], "there is no folder"),
        (["--json", "photo.jpg"], "has the name of a picture"),
        (["--html", "kept"], "is a folder"),
        (["--keep", "photos"], "holds files that this program did not write"),
    ],
)
def test_outputs_are_checked_before_any_picture_is_rendered(words, message, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("infant_fer.audit.__main__.is_installed", lambda: True)
    monkeypatch.setattr("infant_fer.audit.reading.read_all", lambda *arguments: pytest.fail("rendered"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").mkdir()
    (tmp_path / "photos").mkdir()
    for file in ("photo.jpg", "photos/me.png"):
        (tmp_path / file).write_bytes(b"theirs")
    assert main(words) == 1
    assert message in capsys.readouterr().err
    assert (tmp_path / "photo.jpg").read_bytes() == (tmp_path / "photos" / "me.png").read_bytes() == b"theirs"


@pytest.mark.slow
def test_importing_the_audit_loads_no_scikit_learn():
    code = "import sys, infant_fer.audit.__main__, infant_fer.audit.reading, infant_fer.audit.report; print('sklearn' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.strip() == "False"
    )


@rendering
def test_wrong_options_are_refused_before_torch_is_loaded():
    code = "import sys; from infant_fer.audit.__main__ import main; print(main(['--infants', '1']), 'torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "1 False\n"


def test_a_card_is_only_written_into_a_folder_of_ones_own(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("infant_fer.audit.__main__.is_installed", lambda: True)
    monkeypatch.setattr(checkpoints, "resolve", lambda source: checkpoints.Checkpoint(tmp_path, source, "a1b2c3"))
    assert main(["owner/name", "--card"]) == 1
    assert "leave --card out for a Hub id" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@rendering
@pytest.mark.slow
def test_an_audit_writes_its_table_files_and_card(tmp_path, capsys):
    folder, keep = tmp_path / "small", tmp_path / "kept"
    shutil.copytree(ROOT / "checkpoints" / "infant-fer-small", folder)
    files = {kind: tmp_path / f"audit.{kind}" for kind in ("json", "png", "html")}
    words = ["--infants", "2", "--factors", "noise", "--expressions", "smile", "--card", "--keep", str(keep)]
    named = ["--json", str(files["json"]), "--plot", str(files["png"]), "--html", str(files["html"])]
    assert main([str(folder), *words, *named]) == 0
    assert "small: 6 pictures of 2 rendered infants" in capsys.readouterr().out
    plain = json.loads((folder / "audit.json").read_text("utf-8"))
    assert json.loads(files["json"].read_text("utf-8")) == plain
    assert plain["pictures"] == len(list(keep.glob("*.png"))) == 6
    assert [level["level"] for level in plain["factors"][0]["levels"]] == ["5 %", "10 %"]
    assert plain["plain_agreement"]["n"] == 2
    card = (folder / "README.md").read_text("utf-8")
    assert card.count(HEADING) == 1
    assert "| label flips on renders, pacifier | ≤ 25 % | – | not measured |" in card  # only noise was
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    page = files["html"].read_text("utf-8")
    assert page.count("data:image/jpeg") == 3
    assert CAUTION in html.unescape(page)
    assert {file.name for file in tmp_path.iterdir()} == {"small", "kept", *(file.name for file in files.values())}
