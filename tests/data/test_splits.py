"""Who is held out, and whether the splits are apart."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from infant_fer.data import leakage
from infant_fer.data.labeled_images import AlignedDataset, LabeledImages, one_hot
from infant_fer.data.leakage import (
    joined_subjects,
    leaks,
    near_pairs,
    refuse_leaks,
    with_joined_subjects,
    without_leaks,
)
from infant_fer.data.splits import (
    SPLIT_FILE,
    THESIS_SIZES,
    check_classes,
    exact_split,
    folds,
    fraction,
    read_split,
    split,
    write_split,
)
from infant_fer.errors import DatasetError
from tests.drawn_data import unlabelled


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


def one_split_each(images: LabeledImages, splits: np.ndarray) -> bool:
    """Return whether the used pictures of every subject are in one split."""
    return all(len(set(splits[images.subject == each]) - {""}) <= 1 for each in np.unique(images.subject))


def infants_of_several_pictures(seed: int = 1) -> LabeledImages:
    """154 portraits of infants with one to four each, as City Infant Faces has."""
    random = np.random.default_rng(seed)
    subject = np.repeat(np.arange(90), random.integers(1, 5, 90))[:154]
    return pictures(random.choice(3, 154, p=[0.39, 0.35, 0.26]).tolist(), [f"s{each}" for each in subject])


@pytest.mark.parametrize("set_", [city(52), infants_of_several_pictures(), pictures([n % 3 for n in range(600)])])
def test_the_thesis_draws_exactly_100_25_25_pictures_of_whole_infants(set_):
    splits = split(set_, "thesis", seed=3)
    assert [(splits == name).sum() for name in ("train", "dev", "test")] == [100, 25, 25]
    assert one_split_each(set_, splits)
    share = np.bincount(set_.truth) / len(set_)
    assert np.abs(np.bincount(set_.truth[splits == "test"]) - 25 * share).max() < 1
    assert (splits == split(set_, "thesis", seed=3)).all()
    assert (splits != split(set_, "thesis", seed=4)).any()


def test_a_picture_s_chance_of_a_split_does_not_depend_on_how_many_its_infant_has():
    """200 infants with one picture, and 12 each with two to six, most of an infant's of one class; 60 draws."""
    random, each = np.random.default_rng(0), np.array([1] * 200 + [2, 3, 4, 5, 6] * 12)
    subject = np.repeat(np.arange(len(each)), each)
    own, other = np.repeat(random.integers(0, 3, len(each)), each), random.integers(0, 3, len(subject))
    truth = np.where(random.random(len(subject)) < 0.6, own, other)
    drawn = np.array([exact_split(truth, subject, THESIS_SIZES, seed) for seed in range(60)])
    for name, size in THESIS_SIZES.items():
        for few, many in ((1, 1), (2, 3), (4, 6)):
            rows = (few <= each[subject]) & (each[subject] <= many)
            assert (drawn[:, rows] == name).mean() == pytest.approx(size / len(truth), rel=0.25), (name, few)
    used = [
        [(splits[subject == infant] != "").mean() for infant in np.unique(subject[splits != ""])] for splits in drawn
    ]
    assert np.mean([(np.array(shares) < 1).sum() for shares in used]) < 3  # infants used in part


def test_the_thesis_can_have_its_own_counts_of_the_classes():
    set_ = city(60)
    splits = split(set_, "thesis-classes")
    counts = {name: np.bincount(set_.truth[splits == name]).tolist() for name in ("train", "dev", "test")}
    assert counts == {"train": [37, 34, 29], "dev": [10, 10, 5], "test": [11, 8, 6]}
    assert one_split_each(set_, splits)


def test_a_thesis_split_that_cannot_be_is_refused():
    with pytest.raises(DatasetError, match="150 pictures; there are 30"):
        split(city(10), "thesis")
    with pytest.raises(DatasetError, match="keeps every infant in one split"):
        split(pictures([n % 3 for n in range(150)], ["a"] * 100 + ["b"] * 50), "thesis")
    with pytest.raises(DatasetError, match="thesis-classes needs"):
        split(replace(city(52), labels=("neutral", "positive", "negative")), "thesis-classes")


def test_frames_put_one_infant_on_several_sides_and_subject_does_not():
    images = city(52)
    by_frame = split(images, "frames")
    assert not one_split_each(images, by_frame)
    assert one_split_each(images, split(images, "subject"))
    shares = [(by_frame == name).mean() for name in ("train", "dev", "test")]
    assert shares == pytest.approx([0.7, 0.15, 0.15], abs=0.02)


def test_holdout_keeps_a_fifth_for_test_and_a_tenth_of_the_rest_for_dev():
    splits = split(city(), "holdout")
    assert [(splits == name).sum() for name in ("train", "dev", "test")] == [108, 12, 30]
    assert one_split_each(city(), splits)


def test_the_file_of_a_split_names_no_infant_and_is_read_back(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)
    set_ = pictures([0, 1, 2], ["Ann", "Bob", "Ann"], contents=[str(tmp_path / name) for name in "abc"])
    write_split(tmp_path, set_, np.array(["train", "test", ""]))
    lines = (tmp_path / "split.csv").read_text().splitlines()
    digest = hashlib.sha256(b"a").hexdigest()
    assert lines[0] == "sha256,subject,split"
    assert len(lines) == 3
    assert f"{digest},1,train" in lines
    assert read_split(tmp_path, set_).tolist() == ["train", "test", ""]


def test_faces_without_a_file_are_not_in_the_file_of_a_split(tmp_path):
    """A warped face has no bytes by which it could be known."""
    (tmp_path / "a").write_text("a")
    set_ = pictures([0, 1], contents=[str(tmp_path / "a"), str(tmp_path / "a (warped 0)")])
    write_split(tmp_path, set_, np.array(["train", "train"]))
    assert (tmp_path / "split.csv").read_text().splitlines()[1:] == [f"{hashlib.sha256(b'a').hexdigest()},1,train"]


def test_by_subject_no_infant_crosses_the_parts():
    set_ = city()
    splits = split(set_, "subject", seed=1)
    for subject in np.unique(set_.subject):
        assert len(set(splits[set_.subject == subject])) == 1
    assert 15 <= (splits == "dev").sum() <= 27
    assert 15 <= (splits == "test").sum() <= 27


@pytest.mark.parametrize("alone", [True, False])
def test_a_rare_class_leaves_the_splits_as_large_as_they_are(alone):
    """Three pictures of one class in 150: one in each split, and no third of all pictures in dev and in test."""
    truth = [0, 1] * 75
    truth[7], truth[61], truth[120] = 2, 2, 2
    set_ = pictures(truth, None if alone else [f"s{n // 2}" for n in range(150)])
    for seed in range(4):
        splits = split(set_, "subject", seed)
        assert [np.mean(splits == name) for name in ("dev", "test")] == pytest.approx([0.145, 0.145], abs=0.02)
        assert [(set_.truth[splits == name] == 2).sum() for name in ("train", "dev", "test")] == [1, 1, 1]
        check_classes(set_, splits)
        assert np.mean(split(set_, "holdout", seed) == "test") == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("method", ["subject", "holdout"])
def test_an_infant_with_most_of_the_pictures_is_trained_on(method):
    """15 infants with four pictures of one class each, and one with 140: 70 % of all."""
    truth, random = np.repeat(np.arange(15) % 3, 4), np.random.default_rng(0)
    subject = [*np.repeat([f"s{n}" for n in range(15)], 4), *["filmed"] * 140]
    set_ = pictures([*truth, *random.integers(0, 3, 140)], subject)
    for seed in range(10):
        splits = split(set_, method, seed)
        assert set(splits[set_.subject == "filmed"]) == {"train"}
        check_classes(set_, splits)
        assert np.mean(splits == "test") < 0.25


@pytest.mark.parametrize("method", ["subject", "holdout"])
def test_every_infant_is_held_out_by_some_seeds_and_none_by_most(method):
    """40 infants with 2 to 12 pictures of all classes each."""
    random = np.random.default_rng(1)
    each = random.integers(2, 13, 40)
    set_ = pictures(random.integers(0, 3, each.sum()).tolist(), [f"s{n}" for n in np.repeat(np.arange(40), each)])
    drawn = [split(set_, method, seed) for seed in range(40)]
    held = [{*set_.subject[splits == "test"]} for splits in drawn]
    often = np.array([np.mean([infant in infants for infants in held]) for infant in np.unique(set_.subject)])
    assert often.min() > 0
    assert often.max() < 0.5
    share = {"subject": 1 / 7, "holdout": 1 / 5}[method]
    for splits in drawn:
        assert np.mean(splits == "test") == pytest.approx(share, abs=0.02)
        assert np.bincount(set_.truth[splits == "test"]) == pytest.approx(share * np.bincount(set_.truth), abs=4)


def test_a_class_too_rare_for_every_split_is_named_with_its_pictures():
    set_ = pictures([0, 1] * 30 + [2, 2])
    splits = split(set_, "subject")
    assert np.mean(splits == "test") < 0.2
    with pytest.raises(DatasetError, match=r"No negative picture fell into .*there are 2 in all.*--classes"):
        check_classes(set_, splits)


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
    with pytest.raises(DatasetError, match="fell into test of fold 2 of 5"):
        check_classes(pictures([0, 1, 2, 0, 1]), np.array(["train"] * 3 + ["test"] * 2), " of fold 2 of 5")
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


def test_the_same_picture_mirrored_or_darker_is_near(monkeypatch):
    luminance = noise(6)
    luminance[4], luminance[5] = luminance[1].flip(-1), luminance[0] * 0.5 + 9
    assert near_pairs(luminance).tolist() == [[0, 5], [1, 4]]
    monkeypatch.setattr(leakage, "COMPARED_AT_ONCE", 30)  # a few rows at a time, as of a very large data set
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


def test_blank_pictures_of_one_file_are_one_subject(tmp_path):
    for name, content in {"a": b"blank", "b": b"blank", "c": b"blank too"}.items():
        (tmp_path / name).write_bytes(content)
    set_ = pictures([0, 1, 2], ["a", "b", "c"], contents=[str(tmp_path / name) for name in "abc"])
    crops, nothing = np.full((3, 48, 48, 3), 128, np.uint8), np.zeros((3, 0), np.float32)
    blank = AlignedDataset(set_, crops, nothing, nothing, np.zeros(3, bool))
    joined = with_joined_subjects(blank, lambda _: None).images
    assert joined.subject.tolist() == ["a", "a", "c"]
    assert without_leaks(joined, np.array(["train", "dev", "train"])).tolist() == ["", "dev", "train"]


def test_a_fraction_of_the_train_part_keeps_infants_whole():
    set_ = city(52)
    splits = split(set_, "subject")
    fewer = fraction(set_, splits, 1 / 4)
    train, kept = set_.subject[splits == "train"], set_.subject[fewer == "train"]
    assert len(kept) == pytest.approx(len(train) / 4, abs=3)
    assert all((set_.subject[splits == "train"] == infant).sum() == (kept == infant).sum() for infant in set(kept))
    assert (fewer[splits != "train"] == splits[splits != "train"]).all()


def test_a_record_of_splits_without_its_columns_is_refused(tmp_path):
    (tmp_path / SPLIT_FILE).write_text("sha256,subject,part\nab,1,test\n")
    with pytest.raises(DatasetError, match="lacks the columns sha256 and split"):
        read_split(tmp_path, unlabelled(["a.jpg"]))
