"""How are the maps of a split shown? The finding in words, the model card's section, and blocks of the evaluation's page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from infant_fer.checkpoints.safety import CARD
from infant_fer.drawing import overlaid
from infant_fer.errors import CheckpointError
from infant_fer.evaluation.mean_maps import draw_mean_maps
from infant_fer.evaluation.report import PRIVATE, Figure, Section, Table, Text, with_section
from infant_fer.evaluation.split_maps import ZONES, PartRank, SplitMaps
from infant_fer.explain import METHODS
from infant_fer.files import write_atomically
from infant_fer.images import data_url
from infant_fer.labels import AFFECTS
from infant_fer.locales import Message
from infant_fer.metrics import Mean, MeanDict, Proportion
from infant_fer.regions import PARTS

RECORD = "maps.json"  # in a checkpoint's folder, beside the weights that its "weights_sha256" names
HEADING = "## Are its maps true?"
EXPLAINED = (
    "A map ranks the 16 × 16 cells of a face's crop. They are hidden in this order, filled from what is around them; the area under the "
    "probability of the answered class is the deletion area: smaller is more faithful. Insertion shows the cells in this order: larger is "
    "more faithful. For comparison the cells are hidden in a random order and, by edges, in that of an edge detector that knows nothing of "
    "the model; the share below random is how much smaller the map's deletion area is than the random one. A part's brightness for "
    "its size is its mean brightness divided by the crop's. This measures the maps, not the accuracy."
)
LEAST_MARGIN = 0.25  # share by which a method's deletion area should be below the random one
AREAS = {
    "deletion_auc": "deletion area",
    "random_deletion_auc": "at random",
    "edge_deletion_auc": "by edges",
    "insertion_auc": "insertion area",
    "below_random": "share below random",
}
BRIGHTEST = 3  # parts that the card names for each class
GALLERY_EACH = 6  # faces of a class
WRONG_COLOUR = (213, 94, 0)


def finding(record: dict) -> str:
    """Return the finding on faithfulness in words; `record` is what SplitMaps.to_dict returns."""
    words = []
    for method, means in record["faithfulness"].items():
        below = Mean.from_dict(means["below_random"])
        compared = "below" if means["deletion_auc"]["value"] < means["edge_deletion_auc"]["value"] else "not below"
        words.append(
            f"{METHODS[method].title}: deletion area {below.value:.0%} below random ({below.ends(0, 100)}), {compared} edges."
        )
    words += [f"{METHODS[method].title}: {reason}" for method, reason in record["unavailable"].items()]
    first = next(iter(record["faithfulness"].values()))["below_random"]
    return f"{first['n']} pictures of {first['infants']} infants, intervals over infants. " + " ".join(words)


def method_sentence(record: dict, method: str) -> str:
    """Return one sentence on a method's maps over the whole split, with a warning below LEAST_MARGIN.

    Empty if it was not measured, or on one infant alone.
    """
    if method not in record["faithfulness"]:
        return ""
    below = Mean.from_dict(record["faithfulness"][method]["below_random"])
    if below.interval is None:
        return ""
    low, high = (end * 100 for end in below.interval)
    measured = Message(
        "On {n} {split} pictures the deletion area of this checkpoint's {method} maps is {below:.0f} % below that of a random order "
        "(95 % interval {low:.0f} to {high:.0f}).",
        n=below.n,
        split=record["split"],
        method=(METHODS[method].title,),
        below=below.value * 100,
        low=low,
        high=high,
    )
    if below.value >= LEAST_MARGIN:
        return measured
    warning = Message(
        "That is less than the {least:.0f} % that a map should reach: test each one before you use it.",
        least=LEAST_MARGIN * 100,
    )
    return Message.joined(measured, warning)


def with_maps(card: str, record: dict) -> str:
    """Return a card's Markdown with the section of the maps; see `with_section`."""
    head = ("method", *AREAS.values(), "pictures below random")
    lines = [HEADING, EXPLAINED, "", f"On the {record['split']} rows: {finding(record)}", "", _line(head), _rule(head)]
    lines += [_line(row) for row in _faithfulness_rows(record["faithfulness"])]
    affects = [affect for affect in AFFECTS if any(affect in each for each in record["emphasis_per_part"].values())]
    head = ("brightest parts for their size, 1 is average", *affects)
    lines += ["", _line(head), _rule(head)]
    for method, by_affect in record["emphasis_per_part"].items():
        cells = (_brightest(by_affect[affect]) if affect in by_affect else "" for affect in affects)
        lines.append(_line((METHODS[method].title, *cells)))
    lines += _zone_lines(record, affects)
    measured = [each for method in record["faithfulness"] if (each := method_sentence(record, method))]
    lines += ["", *measured[:1], f"Every figure is in `{RECORD}`."]
    return with_section(card, HEADING, "\n".join(lines) + "\n")


def write_maps(folder: Path, record: dict, weights_sha256: str) -> None:
    """Write maps.json and the card's section into a checkpoint's folder."""
    card = folder / CARD
    plain = json.dumps({"weights_sha256": weights_sha256, **record}, indent=1, ensure_ascii=False)
    write_atomically(folder / RECORD, plain + "\n")
    write_atomically(card, with_maps(card.read_text("utf-8") if card.is_file() else "", record))


def read_maps(folder: Path, weights_sha256: str) -> dict | None:
    """Return the record in a checkpoint's folder; None without one, or when it is of other weights. Raises CheckpointError."""
    file = folder / RECORD
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text("utf-8"))
        if record["weights_sha256"] != weights_sha256:
            return None
        for method in METHODS:
            method_sentence(record, method)  # raises where what it says is not there
        return record
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{RECORD} of the checkpoint {folder.name} is damaged: {error}.") from None


def sections(maps: SplitMaps, crops: np.ndarray | None = None) -> Iterator[Section]:
    """Yield the report's sections; with `crops` (N, S, S, 3) of the split also a gallery, which shows faces."""
    record = maps.to_dict()
    table = Table(_faithfulness_rows(record["faithfulness"]), ("method", *AREAS.values(), "pictures below random"))
    yield Section("Are the maps true?", [Text(finding(record)), table])
    for method in maps.methods:
        means = [each for affect in AFFECTS if (each := maps.mean_map(affect, method))]
        picture = Figure.of_png(
            draw_mean_maps(means), f"Mean {METHODS[method].title} map by the class that was answered."
        )
        tables = (_ranking_table(maps, method), _parts_table(maps, method), _zone_table(maps, method))
        yield Section(METHODS[method].title, [picture, *tables])
    if crops is not None:
        yield Section("Faces and maps", [Text(PRIVATE, warning=True), *_gallery(maps, crops)])


def _line(cells: tuple) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _rule(head: tuple) -> str:
    return "|---" * len(head) + "|"


def _faithfulness_rows(faithfulness: Mapping[str, dict]) -> list[tuple[str, ...]]:
    return [
        (
            METHODS[method].title,
            *(Mean.from_dict(means[name]).short for name in AREAS),
            Proportion.from_dict(means["better_than_random"]).short,
        )
        for method, means in faithfulness.items()
    ]


def _brightest(parts: Mapping[str, MeanDict]) -> str:
    """Return the brightest face parts with their intervals; what is outside of the face is left out."""
    inside = [(part, Mean.from_dict(mean)) for part, mean in parts.items() if part != "outside"]
    first = sorted(inside, key=lambda item: -item[1].value)[:BRIGHTEST]
    return ", ".join(f"{part} {mean.value:.1f} ({mean.ends(1)})" for part, mean in first)


def _parts_table(maps: SplitMaps, method: str) -> Table:
    """Return how bright the map is in each part for each answer, and for negative faces read right and read as neutral."""
    groups = {f"answer {affect}": maps.rows(answer=affect) for affect in AFFECTS}
    groups["negative, read right"] = maps.rows(truth="negative", answer="negative")
    groups["negative, read as neutral"] = maps.rows(truth="negative", answer="neutral")
    found = {name: ratios for name, rows in groups.items() if (ratios := maps.ratios(rows, method))}
    rows = [(part, *(ratios[part] for ratios in found.values())) for part in PARTS]
    return Table(rows, ("brightness by size, 1 is average", *found))


def _zone_lines(record: dict, affects: list[str]) -> list[str]:
    """Return the card's table of which zone leads, by the first method; none for a record that was made without it."""
    method = next(iter(record["faithfulness"]))
    by_affect = record.get("zone_leads", {}).get(method)
    if not by_affect:
        return []
    head = (f"pictures in which it is the brightest, {METHODS[method].title}", *affects)
    rows = [
        (_zone_name(zone), *(Proportion.from_dict(by_affect[affect][zone]).short for affect in affects))
        for zone in ZONES
    ]
    return ["", _line(head), _rule(head), *map(_line, rows)]


def _zone_name(zone: str) -> str:
    parts = ZONES[zone]
    return zone if len(parts) == 1 else f"{zone} ({', '.join(parts)})"


def _zone_table(maps: SplitMaps, method: str) -> Table:
    """Return in how many pictures the mouth, or the T-zone, leads; the original experiment named it for neutral faces."""
    groups = {affect: rows for affect in AFFECTS if (rows := maps.rows(answer=affect))}
    cells = [
        (_zone_name(zone), *(maps.leading(each, method, parts) for each in groups.values()))
        for zone, parts in ZONES.items()
    ]
    return Table(cells, ("pictures in which it is the brightest for its size", *groups))


def _ranking_table(maps: SplitMaps, method: str) -> Table:
    """Return which face part comes first, second and so on for each answer, with the interval of its rank over infants."""
    found = {affect: ranks for affect in AFFECTS if (ranks := maps.ranking(maps.rows(answer=affect), method))}
    columns = [[_placed(part, rank) for part, rank in ranking.items()] for ranking in found.values()]
    cells = [(place, *row) for place, row in enumerate(zip(*columns, strict=True), 1)]
    return Table(cells, ("rank by brightness for its size", *found))


def _placed(part: str, rank: PartRank) -> str:
    place = f"rank {rank.interval[0]} to {rank.interval[1]}" if rank.interval else "one infant, no interval"
    return f"{part} ({place}), brightest in {rank.leads.short}"


def _gallery(maps: SplitMaps, crops: np.ndarray) -> Iterator[Figure]:
    """Yield the first method's maps over the first faces of each true class, wrong answers framed in orange."""
    method = maps.methods[0]
    for affect in AFFECTS:
        for each in sorted(maps.rows(truth=affect), key=lambda each: each.answer == affect)[:GALLERY_EACH]:
            picture = overlaid(crops[each.index], each.values[method])
            if each.answer != affect:
                picture = cv2.copyMakeBorder(picture, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=WRONG_COLOUR)
            yield Figure(data_url(picture, quality=85), f"labelled {affect}, read as {each.answer}", 128)
