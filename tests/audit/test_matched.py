"""Which pictures are compared: matched sets, whose pictures differ from their reference in one parameter."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from infant_fer.audit.matched import CLEAR, FACTORS, FIRST_INFANT, LIGHT, SIZE, TONES, Picture, infants, matched_sets
from infant_fer.audit.reading import file_name
from infant_fer.errors import SyntheticError
from infant_fer.labels import AFFECTS
from infant_fer.synthetic import EXPRESSIONS, View
from tests.audit.readings import rendering


def leaves(plain: dict, path: str = "") -> dict:
    """Return every parameter by its path; an occluder is one parameter."""
    flat = {}
    for name, value in plain.items():
        whole = f"{path}{name}"
        flat |= leaves(value, f"{whole}.") if isinstance(value, dict) and name != "occluder" else {whole: value}
    return flat


@rendering
def test_every_picture_differs_from_its_reference_in_exactly_the_named_parameter():
    pictures = matched_sets(infants(2), ("smile", "cry"), FACTORS)
    assert {picture.factor for picture in pictures} == {"", *FACTORS}
    for picture in pictures:
        assert picture.reference in pictures
        plain, before = leaves(asdict(picture.scene())), leaves(asdict(picture.reference.scene()))
        assert plain.keys() == before.keys()
        changed = {path for path in plain if plain[path] != before[path]}
        if picture == picture.reference:
            assert changed == set()
        else:
            path, value = FACTORS[picture.factor].levels[picture.level]
            assert changed == {path}
            assert (plain[path]["kind"] if path == "occluder" else plain[path]) == value


@rendering
def test_a_picture_is_rendered_again_from_its_names():
    picture = Picture(FIRST_INFANT + 3, "laugh", "occluder", "hand")
    assert picture.scene() == picture.scene()
    plain = picture.reference.scene()
    assert (plain.view, plain.light, plain.size) == (View(background=picture.infant), LIGHT, SIZE)
    assert plain != Picture(FIRST_INFANT + 4, "laugh").scene()
    json.dumps(asdict(picture.scene()))


def test_every_picture_is_listed_once():
    assert len(matched_sets([1], ["smile"], ["skin tone", "age"])) == 6 + 4  # their references are levels of their own
    assert len(matched_sets([1], ["smile"], ["blur", "noise"])) == 1 + 3 + 2  # one plain picture for both
    assert len(matched_sets([1, 2], ["smile", "cry"], ["blur", "noise"])) == 4 * 6
    assert matched_sets([1], ["smile"], ["noise"])[0] == Picture(1, "smile")
    assert {EXPRESSIONS[name].affect for name in CLEAR} == set(AFFECTS)
    names = [file_name(picture) for picture in matched_sets([1], ["open smile"], FACTORS)]
    assert len(set(names)) == len(names)
    assert "1_open-smile_head-turn_15-aside.png" in names


def test_what_does_not_exist_is_said():
    with pytest.raises(SyntheticError, match="no factor 'mood'; there are skin tone"):
        matched_sets([1], ["smile"], ["mood"])
    with pytest.raises(SyntheticError, match="no expression 'gloat'"):
        matched_sets([1], ["gloat"], ["blur"])
    with pytest.raises(SyntheticError, match="needs 2 to 1000 infants, not 1"):
        infants(1)
    assert set(infants(1000, seed=0)).isdisjoint(infants(1000, seed=1))


def test_the_tones_lie_in_their_classes_of_the_individual_typology_angle():
    from skimage.color import rgb2lab

    bounds = {"very light": (55, 90), "light": (41, 55), "intermediate": (28, 41), "tan": (10, 28), "brown": (-30, 10),
              "dark": (-90, -30)}  # fmt: skip
    for name, linear in TONES.items():
        encoded = 1.055 * np.array(linear) ** (1 / 2.4) - 0.055
        lightness, _, yellow = rgb2lab(encoded)
        low, high = bounds[name]
        assert low < np.degrees(np.arctan2(lightness - 50, yellow)) < high, name
