"""Numbers that an option cannot have are refused as a wrong command, before anything is loaded or rendered."""

from argparse import ArgumentTypeError

import pytest

from infant_fer.arguments import LARGEST_SEED, amount, positive, seed, share
from infant_fer.audit.__main__ import main as audit
from infant_fer.explain.__main__ import main as explain
from infant_fer.synthetic.__main__ import main as render
from infant_fer.synthetic.clip import main as clip
from infant_fer.synthetic.clip_frames import main as clip_frames

FRAMES = (clip_frames, ["--out", "frames"])
RENDER = (render, ["--out", "portraits"])


@pytest.mark.parametrize(
    ("command", "wrong", "words"),
    [
        ((audit, []), "--seed=-1", "-1 is not in 0.."),
        ((audit, []), "--infants=0", "0 is below 1"),
        ((explain, ["photo.jpg"]), "--seed=-1", "-1 is not in 0.."),
        (RENDER, "--seed=-1", "-1 is not in 0.."),
        (RENDER, f"--seed={2**32}", f"{2**32} is not in 0.."),
        (RENDER, "--seed=one", "invalid seed value: 'one'"),
        (RENDER, "--size=0", "0 is below 1"),
        (RENDER, "--n=-5", "-5 is below 1"),
        (RENDER, "--covered=-3", "-3 is not in 0..1"),
        (RENDER, "--covered=nan", "nan is not in 0..1"),
        (RENDER, "--turned=inf", "inf is no amount of 0 or more"),
        ((clip, ["--out", "clip.mp4"]), "--seed=-1", "-1 is not in 0.."),
        (FRAMES, "--seed=-1", "-1 is not in 0.."),
        (FRAMES, "--workers=0", "0 is below 1"),
    ],
)
def test_a_number_that_an_option_cannot_have_is_a_wrong_command(command, wrong, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run, arguments = command
    with pytest.raises(SystemExit) as raised:
        run([*arguments, wrong])
    assert raised.value.code == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_ends_of_each_range_are_in_it():
    assert (seed("0"), seed(str(LARGEST_SEED)), positive("1")) == (0, LARGEST_SEED, 1)
    assert (share("0"), share("1"), amount("0")) == (0, 1, 0)
    for kind, text in ((share, "1.01"), (amount, "-0.5"), (amount, "nan")):
        with pytest.raises(ArgumentTypeError):
            kind(text)
