"""Who is held out, and whether the splits are apart."""

import numpy as np
import pytest
import torch

from infant_fer.data.labeled_images import LabeledImages, one_hot
from infant_fer.data.splits import (
    check_classes,
    folds,
    fraction,
    joined_subjects,
    leaks,
    near_pairs,
    refuse_leaks,
    split,
    without_leaks,
)
from infant_fer.errors import DatasetError


def pictures(truth, subject=None, splits=None, contents=None) -> LabeledImages:
    count, truth = len(truth), np.array(truth)
    return LabeledImages(
        archives=(None,) * count,
        members=tuple(contents or (f"{n}.jpg" for n in range(count))),
        labels=("positive", "neutral", "negative"),
        truth=truth,
        target=one_hot(truth, 3),
        subject=np.array(subject if subject is not None else [f"s{n}" for n in range(count)]),
        split=np.array(splits if splits is not None else [""] * count),
        subgroups={},
        subjects_known=subject is not None,
    )


def city(infants: int = 50, each: int = 3) -> LabeledImages:
    """Three portraits of each infant, one of each class."""
    return pictures([n % 3 for n in range(infants * each)], [f"s{n // each}" for n in range(infants * each)])


def test_the_thesis_draws_100_25_25_pictures_with_even_classes():
    splits = split(city(52), "thesis", seed=3)
    assert [(splits == name).sum() for name in ("train", "dev", "test", "")] == [100, 25, 25, 6]
    assert np.bincount(city(52).truth[splits == "test"]).tolist() in ([8, 8, 9], [8, 9, 8], [9, 8, 8])
    assert (splits == split(city(52), "thesis", seed=3)).all()
    assert (splits != split(city(52), "thesis", seed=4)).any()
    with pytest.raises(DatasetError, match="150 pictures; there are 30"):
        split(city(10), "thesis")


def test_holdout_keeps_a_fifth_and_no_dev():
    splits = split(city(), "holdout")
    assert [(splits == name).sum() for name in ("train", "dev", "test")] == [120, 0, 30]


def test_by_subject_no_infant_crosses_the_parts():
    set_ = city()
    splits = split(set_, "subject", seed=1)
    for subject in np.unique(set_.subject):
        assert len(set(splits[set_.subject == subject])) == 1
    assert 15 <= (splits == "dev").sum() <= 27
    assert 15 <= (splits == "test").sum() <= 27


def test_the_given_split_gets_a_dev_part_of_whole_subjects_if_it_lacks_one():
    given = pictures(city().truth, city().subject, ["test" if n < 30 else "train" for n in range(150)])
    splits = split(given, "given")
    assert (splits[:30] == "test").all()
    dev = set(given.subject[splits == "dev"])
    assert dev
    assert not dev & set(given.subject[splits == "train"])
    with pytest.raises(DatasetError, match="no split of its own"):
        split(city(), "given")


def test_every_picture_is_tested_once_in_each_repeat_and_never_beside_its_infant():
    set_ = city(20)
    drawn = list(folds(set_, 5, repeats=2))
    assert len(drawn) == 10
    for repeat in (drawn[:5], drawn[5:]):
        assert (sum((splits == "test").astype(int) for splits in repeat) == 1).all()
    for splits in drawn:
        assert not set(set_.subject[splits == "test"]) & set(set_.subject[splits != "test"])
        assert not set(set_.subject[splits == "dev"]) & set(set_.subject[splits == "train"])
    assert (drawn[0] != drawn[5]).any()


def test_fewer_pictures_or_infants_than_folds():
    with pytest.raises(DatasetError, match=r"there are 2 of negative and 8\s+subjects"):
        list(folds(pictures([0, 0, 0, 1, 1, 1, 2, 2]), 3))
    with pytest.raises(DatasetError, match="2 subjects"):
        list(folds(pictures([0, 1, 2] * 4, ["a"] * 6 + ["b"] * 6), 3))


def test_a_part_without_a_class_is_refused():
    with pytest.raises(DatasetError, match="No negative picture fell into dev"):
        check_classes(pictures([0, 1, 2, 0, 1]), np.array(["train"] * 3 + ["dev"] * 2))
    check_classes(pictures([0, 1, 2, 0]), np.array(["train"] * 3 + [""]))
    with pytest.raises(DatasetError, match="No picture is left"):
        check_classes(pictures([0, 1, 2]), np.array(["test"] * 3))


def test_near_duplicates_make_one_subject_of_two():
    assert joined_subjects(np.array(["a", "b", "c", "c", "d"]), np.array([[0, 3], [1, 1]])).tolist() in (
        ["a", "b", "a", "a", "d"],
        ["c", "b", "c", "c", "d"],
    )
    assert joined_subjects(np.array(["a", "b"]), np.zeros((0, 2), int)).tolist() == ["a", "b"]


def noise(count: int) -> torch.Tensor:
    return torch.rand(count, 48, 48, generator=torch.Generator().manual_seed(0)) * 255


def test_the_same_picture_mirrored_or_darker_is_near():
    luminance = noise(6)
    luminance[4], luminance[5] = luminance[1].flip(-1), luminance[0] * 0.5 + 9
    assert near_pairs(luminance).tolist() == [[0, 5], [1, 4]]


def test_leaks_are_found_by_subject_by_file_and_by_look(tmp_path):
    names = []
    for number in range(6):
        names.append(str(tmp_path / f"{number}.jpg"))
        (tmp_path / f"{number}.jpg").write_bytes(b"same" if number in (1, 4) else bytes([number]))
    set_ = pictures([0, 1, 2, 0, 1, 2], ["a", "b", "c", "a", "d", "e"], contents=names)
    splits, luminance = np.array(["train", "train", "train", "dev", "test", "test"]), noise(6)
    luminance[5] = luminance[2].flip(-1)
    found = leaks(set_, splits, luminance)
    assert found.counts() == {"same infant": 1, "same file": 1, "same picture": 1}
    assert "0.jpg [train]" in found.same_subject[0][0]
    assert "4.jpg [test]" in found.same_file[0][1]
    assert "5.jpg [test]" in found.near_duplicate[0][1]
    with pytest.raises(DatasetError, match=r"same infant: 1 .*same file: 1 .*same picture: 1"):
        refuse_leaks(found, allowed=False)
    refuse_leaks(found, allowed=True)
    apart = leaks(set_, np.array(["train", "", "train", "train", "train", ""]), luminance)
    assert not any(apart.counts().values())
    refuse_leaks(apart, allowed=False)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]])
def test_leaks_do_not_depend_on_unused_rows_or_on_the_order(tmp_path, order):
    names = [str(tmp_path / f"{number}.jpg") for number in range(5)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes([number]))
    luminance = noise(5)
    luminance[3], luminance[4] = luminance[0], luminance[0]  # one photograph three times, once unused
    rows = pictures([0, 1, 2, 0, 1], ["a", "a", "a", "b", "c"], contents=names).rows(np.array(order))
    splits = np.array(["train", "", "test", "", "dev"])[order]
    found = leaks(rows, splits, luminance[order])
    assert found.counts() == {"same infant": 1, "same file": 0, "same picture": 1}
    assert found.same_subject == ((f"{names[0]} [train]", f"{names[2]} [test]"),)
    assert found.near_duplicate == ((f"{names[0]} [train]", f"{names[4]} [dev]"),)


def test_leaks_can_be_left_out_of_what_is_trained_on():
    set_ = pictures([0, 1, 2, 0, 1, 2], ["a", "b", "c", "a", "c", "b"])
    splits = np.array(["train", "dev", "train", "dev", "test", "test"])
    assert without_leaks(set_, splits).tolist() == ["", "", "", "dev", "test", "test"]
    apart = np.array(["train", "dev", "test", "train", "test", "dev"])
    assert without_leaks(set_, apart).tolist() == apart.tolist()


def test_a_fraction_of_the_train_part_keeps_infants_whole():
    set_ = city(52)
    splits = split(set_, "subject")
    fewer = fraction(set_, splits, 1 / 4)
    train, kept = set_.subject[splits == "train"], set_.subject[fewer == "train"]
    assert len(kept) == pytest.approx(len(train) / 4, abs=3)
    assert all((set_.subject[splits == "train"] == infant).sum() == (kept == infant).sum() for infant in set(kept))
    assert (fewer[splits != "train"] == splits[splits != "train"]).all()
