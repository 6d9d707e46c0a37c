"""Faces are found once, kept as they are found, and one bad picture never ends the search."""

import os
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from infant_fer.alignment import CropSpec, align_face
from infant_fer.checkpoints import sources
from infant_fer.data import face_cache
from infant_fer.data.face_cache import SHARD, align_images
from infant_fer.errors import DatasetError, FaceModelError
from infant_fer.face import Face, HeadPose
from infant_fer.images import load_image
from infant_fer.models.geometry import GEOMETRY_SIZE
from tests.drawn_data import EXAMPLES, drawn_face, store_faces, unlabelled, write_zip


def dies(adults: bool) -> None:
    os._exit(1)


def silent(sentence: str) -> None:
    pass


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A portrait, a damaged picture, an empty file and a missing one, with their faces."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "smile.jpg").write_bytes((EXAMPLES / "smile.jpg").read_bytes())
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"x" * 500)
    (folder / "empty.jpg").write_bytes(b"")
    images = unlabelled([str(folder / f"{name}.jpg") for name in ("damaged", "smile", "empty", "missing")])
    said = []
    return images, folder, align_images(images, CropSpec(), folder / "cache", log=said.append), said


@pytest.mark.slow
def test_bad_pictures_are_counted_and_named_and_the_rest_goes_on(mixed):
    images, _, dataset, said = mixed
    assert dataset.images.members == images.members[1:2]
    assert dataset.found.tolist() == [True]
    assert dataset.landmarks_px.shape == (1, 478, 2)
    assert said[0].startswith("3 of 4 pictures cannot be read and are left out: ")
    for name in ("damaged.jpg", "empty.jpg", "missing.jpg"):
        assert name in said[0]


@pytest.mark.slow
def test_another_crop_needs_no_other_search(mixed, monkeypatch):
    images, folder, dataset, _ = mixed
    monkeypatch.setattr(face_cache._FaceFinder, "find", lambda *_: pytest.fail("searched again"))
    small = align_images(images, CropSpec(48, 0.3), folder / "cache", log=silent)
    face = Face(dataset.landmarks_px[0], {}, HeadPose(0, 0, 0))
    expected = align_face(load_image(EXAMPLES / "smile.jpg"), face, CropSpec(48, 0.3))
    np.testing.assert_array_equal(small.crops[0], expected.crop_rgb)
    np.testing.assert_array_equal(small.geometry, dataset.geometry)


@pytest.mark.slow
def test_moved_files_keep_their_faces(mixed, tmp_path, monkeypatch):
    images, folder, dataset, _ = mixed
    for name in ("damaged", "smile", "empty"):
        (tmp_path / f"{name}.jpg").write_bytes((folder / f"{name}.jpg").read_bytes())
    moved = unlabelled([str(tmp_path / Path(member).name) for member in images.members])
    monkeypatch.setattr(face_cache, "_find", lambda *_: pytest.fail("searched again"))
    again = align_images(moved, CropSpec(), folder / "cache", log=silent)
    np.testing.assert_array_equal(again.crops, dataset.crops)


def stored_pictures(folder: Path, count: int):
    """Return pictures that differ in their bytes alone, and keep crops for them that are filled with their numbers."""
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(b"%d" % number)
    images = unlabelled([str(folder / f"{number}.jpg") for number in range(count)])
    crops = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 8, 8, 3))
    store_faces(images, folder / "cache", crops, np.zeros((count, GEOMETRY_SIZE)))
    return images


def searched_again(images, cache: Path, monkeypatch, **options) -> list[str]:
    """Return the names of the pictures whose faces are searched; none is found."""
    names = []
    monkeypatch.setattr(
        face_cache, "_find", lambda _, jobs: names.extend(each for job in jobs for each in job.images.members)
    )
    with suppress(DatasetError):  # nothing is found where nothing was kept
        align_images(images, CropSpec(8), cache, log=silent, **options)
    return [Path(name).stem for name in names]


def test_a_part_of_a_data_set_and_another_order_need_no_new_search(tmp_path, monkeypatch):
    images = stored_pictures(tmp_path, SHARD + 6)
    part = images.rows(np.array([SHARD + 2, 5, 3]))
    assert searched_again(part, tmp_path / "cache", monkeypatch) == []
    crops = align_images(part, CropSpec(8), tmp_path / "cache").crops
    assert crops[:, 0, 0, 0].tolist() == [SHARD + 2, 5, 3]


def test_only_new_and_changed_pictures_are_searched(tmp_path, monkeypatch):
    images = stored_pictures(tmp_path, SHARD + 6)
    (tmp_path / "3.jpg").write_bytes(b"another")
    (tmp_path / "new.jpg").write_bytes(b"new")
    (tmp_path / "twice.jpg").write_bytes(b"new")
    more = unlabelled([*images.members, str(tmp_path / "new.jpg"), str(tmp_path / "twice.jpg")])
    assert searched_again(more, tmp_path / "cache", monkeypatch) == ["3", "new"]


def test_adults_are_searched_apart(tmp_path, monkeypatch):
    images = stored_pictures(tmp_path, 2)
    assert searched_again(images, tmp_path / "cache", monkeypatch, adults=True) == ["0", "1"]


def test_a_damaged_file_of_the_cache_is_named(tmp_path):
    images = stored_pictures(tmp_path, 2)
    file = next((tmp_path / "cache").glob("*/faces-*.npz"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DatasetError, match=f"{file.name} is damaged"):
        align_images(images, CropSpec(8), tmp_path / "cache")


@pytest.mark.parametrize("bundle", [b"damaged", None])
def test_a_damaged_or_missing_bundle_is_told_before_any_worker_starts(tmp_path, monkeypatch, bundle):
    file = tmp_path / "face_landmarker.task"
    if bundle:
        file.write_bytes(bundle)
    monkeypatch.setattr(sources, "LOCAL_BUNDLE", file)
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    monkeypatch.setattr(sources, "fetch_face_bundle", lambda destination: destination)  # no network in a test
    monkeypatch.setattr(face_cache, "ProcessPoolExecutor", lambda *_: pytest.fail("a worker was started"))
    monkeypatch.setattr(face_cache, "SHARD", 1)  # two jobs, which workers would take
    images = unlabelled([str(EXAMPLES / f"{name}.jpg") for name in ("smile", "cry")])
    with pytest.raises(FaceModelError):
        align_images(images, CropSpec(), tmp_path / "cache")


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_search_with_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(face_cache, "_start_worker", dies)
    monkeypatch.setattr(face_cache, "SHARD", 1)
    images = unlabelled([str(EXAMPLES / f"{name}.jpg") for name in ("smile", "cry")])
    with pytest.raises(DatasetError, match="ended before its time"):
        align_images(images, CropSpec(), tmp_path / "cache")


@pytest.mark.slow
def test_several_processes_find_what_one_finds(tmp_path, monkeypatch):
    images = unlabelled([str(EXAMPLES / f"{name}.jpg") for name in ("smile", "two_faces", "cry")])
    alone = align_images(images, CropSpec(), tmp_path / "alone", log=silent)
    monkeypatch.setattr(face_cache, "SHARD", 1)
    monkeypatch.setattr(face_cache._FaceFinder, "fill", lambda *_: pytest.fail("found here"))
    spread = align_images(images, CropSpec(), tmp_path / "spread", log=silent)
    assert len(list((tmp_path / "spread").glob("*/crops-*.npz"))) == 3
    for name in ("crops", "geometry", "landmarks_px", "found"):
        np.testing.assert_array_equal(getattr(spread, name), getattr(alone, name))
    assert spread.found.all()


def test_pictures_none_of_which_can_be_read(tmp_path):
    images = unlabelled([str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")])
    with pytest.raises(DatasetError, match=r"None of the 2 pictures could be read\. The first: .*a\.jpg"):
        align_images(images, CropSpec(), tmp_path / "cache", log=silent)


def patched_zip(archive: Path, change) -> Path:
    """An archive of a picture whose headers are changed by `change(bytes, offset of the flags)`."""
    write_zip(archive, {"happy/a.png": cv2.imencode(".png", drawn_face("positive", 0, 32))[1].tobytes()})
    data = bytearray(archive.read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        change(data, data.find(mark) + flags)
    archive.write_bytes(data)
    return archive


def encrypt(data: bytearray, flags: int) -> None:
    data[flags] |= 1


def deflate64(data: bytearray, flags: int) -> None:
    data[flags + 2 : flags + 4] = struct.pack("<H", 9)


def rot(data: bytearray, flags: int) -> None:
    data[60:90] = b"\xff" * 30


@pytest.mark.parametrize("change", [encrypt, deflate64, rot])
def test_a_member_that_cannot_be_unpacked_is_named(tmp_path, change):
    archive = patched_zip(tmp_path / "set.zip", change)
    images = unlabelled(["happy/a.png"])
    images = replace(images, archives=(archive,))
    with pytest.raises(DatasetError, match=r"happy/a\.png in .*set\.zip could not be read"):
        images.read(0)
