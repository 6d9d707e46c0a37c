"""The Clip tab: a clip goes in, a timeline comes out."""

from importlib.util import find_spec


def is_video_installed() -> bool:
    """Return whether the packages of the extra `video` that the tab needs are there."""
    return all(find_spec(name) for name in ("av", "pympi", "webvtt", "pyarrow"))
