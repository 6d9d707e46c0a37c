"""In which order one visitor's events run: what one place takes, the queue runs one after the other."""

import pytest

from infant_fer.checkpoints.registry import CheckpointRegistry, available_checkpoints
from infant_fer.ui.page import build_page
from infant_fer.ui.sessions import DisplayOptions, Session, SessionStore
from tests.conftest import EXAMPLES

# For each place: the functions whose events must not overtake each other, with the number of their events.
PLACES = {
    "display": {"PhotoEvents.display": 5},
    "face": {"PhotoEvents.face": 1, "PhotoEvents.click": 1},
    "photo": {
        "PhotoEvents.upload": 1,
        "PhotoEvents.example.<locals>.event": 2,
        "PhotoEvents.checkpoint": 1,
        "LiveEvents.freeze": 1,
        "ClipEvents.explain": 1,
        "SeveralEvents.read": 1,
    },
    "several-detail": {"SeveralEvents.open_one": 1, "SeveralEvents.compare": 1, "SeveralEvents.clear": 2},
    "cover": {f"_wire_cover.<locals>.{name}": 1 for name in ("on_open", "on_tap", "on_parts", "on_uncover")},
}
MANY = {  # as many events as there are buttons for it
    "several-list": ["SeveralEvents.list_shown", "SeveralEvents.update_shown"],
    "lab-sliders": [
        "_wire_starts.<locals>.on_expression.<locals>.<lambda>",
        "_wire_starts.<locals>.on_infant.<locals>.event",
        "_wire_twin.<locals>.on_take_over",
        "_wire_interpolation.<locals>.on_step",
    ],
    "explain": ["PhotoEvents.explain", "_wire.<locals>.on_explain"],
}


@pytest.fixture(scope="module")
def functions() -> dict[str, list]:
    """Return the page's functions by their qualified name, one for each event."""
    registry = CheckpointRegistry(available_checkpoints([]))
    examples = [EXAMPLES / f"{name}.jpg" for name in ("smile", "cry")]
    found: dict[str, list] = {}
    for function in build_page(registry, SessionStore(), examples).fns.values():
        found.setdefault(getattr(function.fn, "__qualname__", ""), []).append(function)
    return found


@pytest.mark.parametrize(("place", "counts"), PLACES.items(), ids=PLACES)
def test_what_sets_the_same_things_runs_in_order(functions, place, counts):
    assert {name: len(functions[name]) for name in counts} == counts
    assert {each.concurrency_id for name in counts for each in functions[name]} == {place}


@pytest.mark.parametrize(("place", "names"), MANY.items(), ids=MANY)
def test_what_many_events_do_runs_in_order(functions, place, names):
    for name in names:
        assert {each.concurrency_id for each in functions[name]} == {place}


def test_a_photo_that_waited_does_not_bring_back_older_display_options():
    session, older, newer = Session(), DisplayOptions("mesh"), DisplayOptions("box only")
    session.draw_photo_as(older)
    assert session.display == older
    session.draw_as(newer)
    session.draw_photo_as(older)
    assert session.display == newer
