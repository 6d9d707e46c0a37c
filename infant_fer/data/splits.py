"""Who is trained on and who is held out? Splits by infant, never by frame, the original thesis's among them."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from infant_fer.data.labeled_images import UNREADABLE, LabeledImages, own_subjects
from infant_fer.errors import DatasetError
from infant_fer.labels import AFFECTS

THESIS_SIZES = {
    "train": 100,
    "dev": 25,
    "test": 25,
}  # pictures of the thesis on City Infant Faces (2025), whole infants
THESIS_CLASSES = {
    "train": (37, 34, 29),
    "dev": (10, 10, 5),
    "test": (11, 8, 6),
}  # its positive, neutral, negative pictures
METHODS = ("given", "subject", "thesis", "thesis-classes", "holdout", "frames")
SPLIT_FILE = "split.csv"  # in a checkpoint folder: SHA-256 of every picture's file, its subject, and its split
CONSIDERED = 3  # an exact split is drawn first among so many times as many pictures, which is faster than among all
MOST_NODES = 20_000  # of the search for an exact split, which may have to prove that there is none
DEV_PIECES = 10  # of the pictures that are not test, one of so many equal pieces is dev


def split(images: LabeledImages, method: str, seed: int = 0) -> np.ndarray:
    """Return (N,) str: train, dev, test or "" (not used), by one of METHODS.

    `given`: the data set's own, with dev taken from train where it has none. `subject`: about 70 / 15 / 15 % of the
    pictures. `holdout`: about 80 / 20 %, as iFACE, with dev a tenth of the 80. `thesis`: exactly 100 / 25 / 25 pictures,
    classes in the data set's proportions; `thesis-classes`: with the thesis's own counts of the three affects. All but
    `given` keep subjects whole and give like shares of the classes. `frames`: as `subject`, but each picture counts as an
    infant of its own, so that frames of one infant are on all sides: only to show what such a figure is worth. Raises
    DatasetError.
    """
    if method == "given":
        return _given(images, seed)
    if method == "frames":
        return _by_subject(replace(images, subject=own_subjects(len(images))), seed)
    if method == "subject":
        return _by_subject(images, seed)
    if method == "holdout":
        splits = np.full(len(images), "train", "<U5")
        splits[_held_out(images, 5, seed)] = "test"
        return _with_dev(images, splits, seed)
    needed = sum(THESIS_SIZES.values())
    if needed > len(images):
        raise DatasetError(f"The thesis's split needs {needed} pictures; there are {len(images)}. Use --split subject.")
    if method == "thesis":
        return exact_split(images.truth, images.subject, THESIS_SIZES, seed)
    if images.labels != AFFECTS:
        raise DatasetError(f"--split thesis-classes needs the labels {', '.join(AFFECTS)}; use --split thesis.")
    return exact_split(images.truth, images.subject, THESIS_SIZES, seed, THESIS_CLASSES)


def exact_split(
    truth: np.ndarray,
    subject: np.ndarray,
    sizes: Mapping[str, int],
    seed: int = 0,
    classes: Mapping[str, Sequence[int]] | None = None,
) -> np.ndarray:
    """Return (N,) str: exactly `sizes` pictures in each split, each subject's in one split only; the rest is "".

    `truth` is (N,) int, `subject` (N,) of any dtype. `classes` are the counts of every class in each split; without them
    they are the data set's proportions, rounded up or down. Over the seeds, the pictures of a class have about the same
    chance of a split, however many their subject has: subjects are drawn in random order. Where whole ones do not come
    out exactly, a few are used in part, and their other pictures are in no split. Raises DatasetError when no such split
    was found.
    """
    random, names = np.random.default_rng(seed), list(sizes)
    _, number = np.unique(subject, return_inverse=True)
    counts = np.zeros((number.max() + 1, truth.max() + 1), int)  # (S, C) pictures of each subject and class
    np.add.at(counts, (number, truth), 1)
    total = np.array([sizes[name] for name in names])
    wanted = total[:, None] * counts.sum(0) / counts.sum() if classes is None else np.array([classes[n] for n in names])
    places = random.random((len(counts), len(names)))  # a split takes the subjects of the lowest ones
    for most in (CONSIDERED * total, np.full(len(names), len(truth))):
        drawn = _draw(counts, _lowest(places, counts.sum(1), most), total, wanted)
        if drawn is not None:
            break
    else:
        raise DatasetError(
            f"No split of {' / '.join(map(str, total))} pictures keeps every infant in one split. Use another --seed or --split."
        )
    splits = np.full(len(truth), "", "<U5")
    for each, split, label in np.argwhere(drawn):
        rows = np.flatnonzero((number == each) & (truth == label))
        splits[random.permutation(rows)[: drawn[each, split, label]]] = names[split]
    return splits


def _lowest(places: np.ndarray, pictures: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return the (S, P) places, inf where the subjects before have `most[p]` pictures or more, of (S,) each."""
    order = places.argsort(0)
    before = pictures[order].cumsum(0) - pictures[order]
    kept = np.full(places.shape, np.inf)
    for split in range(places.shape[1]):
        rows = order[before[:, split] < most[split], split]
        kept[rows, split] = places[rows, split]
    return kept


def _draw(counts: np.ndarray, places: np.ndarray, total: np.ndarray, wanted: np.ndarray) -> np.ndarray | None:
    """Return how many of the (S, C) pictures each split gets, (S, P, C), with the lowest places; None if impossible.

    Split p gets `total[p]` pictures, and `wanted[p, c]` of class c, rounded up or down. A subject is in one split only, and
    in none where its (S, P) place is inf. The sum of the places of all chosen subjects' pictures is minimised by integer
    programming. That alone would prefer subjects of few pictures: n more of the N of a class push others out, up to n / N
    of a place further up, on average half of that. Each subject's sum is therefore lower by n² / 2N.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import block_array, csr_array, eye_array, hstack, kron

    (subjects, splits), pictures = places.shape, counts.sum(1, keepdims=True)
    owner, label = (counts * (pictures > 1)).nonzero()  # (K,) whose pictures may be used in part, and of which class
    several, each = len(owner), np.arange(len(owner))
    once = kron(eye_array(subjects), np.ones((1, splits)))  # of binary x[s, p]; the others also of integer unused[k, p]
    own = kron(csr_array((counts[owner, label], (each, owner)), (several, subjects)), eye_array(splits))
    of_class = csr_array((np.ones(several), (label, each)), (counts.shape[1], several))
    classes = hstack([kron(counts.T, eye_array(splits)), -kron(of_class, eye_array(splits))])
    sums = kron(np.ones((1, counts.shape[1])), eye_array(splits)) @ classes
    allowed = np.isfinite(places)
    cost = np.where(allowed, places, 0) * pictures - (counts**2 / counts.sum(0).clip(1)).sum(1, keepdims=True) / 2
    found = milp(
        np.concatenate([cost.ravel(), np.zeros(several * splits)]),
        integrality=np.ones(cost.size + several * splits),
        bounds=Bounds(0, np.concatenate([allowed.ravel(), np.repeat(counts[owner, label], splits)])),
        constraints=[
            LinearConstraint(
                block_array([[once, None], [-own, eye_array(several * splits)]], format="csc"),
                -np.inf,
                np.repeat([1, 0], [subjects, several * splits]),
            ),
            LinearConstraint(sums.tocsc(), total, total),
            LinearConstraint(classes.tocsc(), np.floor(wanted).T.ravel(), np.ceil(wanted).T.ravel()),
        ],
        options={"mip_rel_gap": 0.05, "node_limit": MOST_NODES},
    )
    if found.x is None:
        return None
    chosen, unused = np.split(np.rint(found.x).astype(int), [cost.size])
    drawn = chosen.reshape(subjects, splits, 1) * counts[:, None]
    drawn[owner, :, label] -= unused.reshape(several, splits)
    return drawn


def folds(images: LabeledImages, k: int, repeats: int = 1, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield the (N,) splits of `repeats` × `k` folds: the fold is test, a tenth of the rest is dev; subjects stay whole.

    Raises DatasetError when there are fewer pictures of a class, or fewer subjects, than folds.
    """
    fewest, subjects = min(images.counts().items(), key=lambda item: item[1]), len(np.unique(images.subject))
    if fewest[1] < k or subjects < k:
        raise DatasetError(
            f"{k} folds need {k} pictures of every class and {k} subjects; there are {fewest[1]} of {fewest[0]} and "
            f"{subjects} subjects. Use fewer folds."
        )
    for repeat in range(repeats):
        drawn = StratifiedGroupKFold(k, shuffle=True, random_state=seed + repeat)
        for train, test in drawn.split(images.truth, images.truth, images.subject):
            splits = np.full(len(images), "train", "<U5")
            splits[test] = "test"
            splits[train[_held_out(images.rows(train), DEV_PIECES, seed + repeat)]] = "dev"
            yield splits


def fraction(images: LabeledImages, splits: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Return the (N,) splits with about `share` of the train pictures, whole subjects; dev and test stay as they are.

    Raises DatasetError when a class has too few train pictures.
    """
    fewer, train = splits.copy(), np.flatnonzero(splits == "train")
    fewer[train] = ""
    fewer[train[_held_out(images.rows(train), round(1 / share), seed)]] = "train"
    check_classes(images, fewer)
    return fewer


def check_classes(images: LabeledImages, splits: np.ndarray, where: str = "") -> None:
    """Raise DatasetError when train, dev or test lacks a class, or train is empty; `where` names the fold."""
    for name in ("train", "dev", "test"):
        counts = images.rows(splits == name).counts()
        absent = next((label for label, count in counts.items() if not count), None)
        if absent and sum(counts.values()):
            raise DatasetError(
                f"No {absent} picture fell into {name}{where} ({sum(counts.values())} pictures); there are "
                f"{images.counts()[absent]} in all. Use another --seed or --split, or leave the label out with --classes."
            )
    if not (splits == "train").any():
        raise DatasetError("No picture is left to train on. Use another --split.")


def write_split(folder: Path, images: LabeledImages, splits: np.ndarray) -> None:
    """Write sha256, subject and split of every picture that has one into SPLIT_FILE; a picture is known by its bytes.

    The subjects are numbered: the data set's own names for its infants stay private. Faces that no file holds, such as
    warped ones, are left out.
    """
    numbers = np.unique(images.subject, return_inverse=True)[1] + 1
    rows = zip(images.digests(), numbers.tolist(), splits, strict=True)
    with (folder / SPLIT_FILE).open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("sha256", "subject", "split"))
        table.writerows(sorted(row for row in rows if row[2] and not row[0].startswith(UNREADABLE)))


def read_split(folder: Path, images: LabeledImages) -> np.ndarray | None:
    """Return the (N,) str splits that these pictures had when the checkpoint in `folder` was trained, "" for others.

    None when the folder has no SPLIT_FILE, or that knows none of these pictures.
    """
    if not (folder / SPLIT_FILE).is_file():
        return None
    with (folder / SPLIT_FILE).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if rows and not {"sha256", "split"} <= set(rows[0]):
        raise DatasetError(f"{SPLIT_FILE} of {folder.name} lacks the columns sha256 and split.")
    known = {row["sha256"]: row["split"] for row in rows}
    splits = np.array([known.get(digest, "") for digest in images.digests()], dtype="<U5")
    return splits if splits.astype(bool).any() else None


def _given(images: LabeledImages, seed: int) -> np.ndarray:
    if not (images.split == "train").any():
        raise DatasetError(
            "The data set has no split of its own with train pictures. Mark them in it, or use "
            "--split subject in a command that has it."
        )
    splits = images.split.astype("<U5")
    return splits if (splits == "dev").any() else _with_dev(images, splits, seed)


def _with_dev(images: LabeledImages, splits: np.ndarray, seed: int) -> np.ndarray:
    """Return the splits with a tenth of the train pictures, whole subjects, as dev."""
    splits, train = splits.copy(), np.flatnonzero(splits == "train")
    splits[train[_held_out(images.rows(train), DEV_PIECES, seed)]] = "dev"
    return splits


def _by_subject(images: LabeledImages, seed: int) -> np.ndarray:
    splits = np.full(len(images), "train", "<U5")
    for name, share in (("test", 7), ("dev", 6)):  # a seventh, then a sixth of what is left
        left = np.flatnonzero(splits == "train")
        splits[left[_held_out(images.rows(left), share, seed)]] = name
    return splits


def _held_out(images: LabeledImages, share: int, seed: int) -> np.ndarray:
    """Return indices of about 1 / share of the pictures, whole subjects, like shares of the classes.

    Where each picture is a subject of its own, of the drawn pieces the first with most classes is taken: one of a rare
    class is held out without making the piece larger. Else see `_drawn_subjects`. Raises DatasetError where there are too
    few pictures or subjects.
    """
    names, number = np.unique(images.subject, return_inverse=True)
    pieces = min(share, len(names), max(images.counts().values()))
    if pieces < 2:
        raise DatasetError(
            f"{len(names)} subjects with {images.counts()} pictures are too few to hold some out. Add pictures."
        )
    if len(names) < len(images):
        _, label = np.unique(images.truth, return_inverse=True)
        counts = np.zeros((len(names), label.max() + 1), int)
        np.add.at(counts, (number, label), 1)
        return np.flatnonzero(_drawn_subjects(counts, pieces, seed)[number])
    drawing = StratifiedKFold(pieces, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # see `check_classes`
        drawn = drawing.split(images.truth, images.truth)
        return max((piece for _, piece in drawn), key=lambda piece: len(np.unique(images.truth[piece])))


def _drawn_subjects(counts: np.ndarray, pieces: int, seed: int) -> np.ndarray:
    """Return the (S,) bool mask of about 1 / pieces of the subjects' (S, C) `counts` of pictures; at least one, not all.

    Subjects are taken in random order, each that brings the pictures closer to that share. Then single ones are added or
    removed, each time the one that improves the draw most, until none does: a class should be on both sides, and its
    pictures held out near their share (squared difference over the class's pictures). Over the seeds every subject may be
    held out, except one with twice that share of the pictures or more. scikit-learn's StratifiedGroupKFold always puts the
    most uneven subjects into its first pieces.
    """
    order = np.random.default_rng(seed).permutation(len(counts))
    counts = counts[order]
    size, total = counts.sum(1), counts.sum(0)
    wanted, chosen = total / pieces, np.zeros(len(counts), bool)
    fits, missing = size < 2 * wanted.sum(), wanted.sum()
    for each, pictures in enumerate(size):
        chosen[each] = pictures < 2 * missing
        missing -= pictures * chosen[each]
    while True:
        change = np.where(chosen, -1, 1) * fits
        held = counts[chosen].sum(0) + np.vstack([0 * total, change[:, None] * counts])  # now, and were one changed
        taken = chosen.sum() + np.append(0, change)
        costs = ((held == 0) | (held == total)).sum(1) * total.sum() + ((held - wanted) ** 2 / total.clip(1)).sum(1)
        costs[(taken == 0) | (taken == len(counts))] = np.inf
        best = costs.argmin()
        if best == 0:
            return chosen[order.argsort()]
        chosen[best - 1] ^= True
