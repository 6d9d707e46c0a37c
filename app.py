"""Start the page: `python app.py`."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path


def main() -> int:
    """Parse the arguments, load the default checkpoint and serve until interrupted."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is loaded: waiting threads must not spin
    options = _parser().parse_args()
    if not _can_be_served(options.host, options.port):
        return _refused(options)
    from infant_fer.errors import InfantFERError
    from infant_fer.ui.uploads import private_upload_folder

    with private_upload_folder():
        from infant_fer.checkpoints.registry import CheckpointRegistry, available_checkpoints
        from infant_fer.ui.compute import SharedAnalyzer
        from infant_fer.ui.page import build_page
        from infant_fer.ui.server import launch
        from infant_fer.ui.sessions import SessionStore

        try:
            registry = CheckpointRegistry(available_checkpoints(options.checkpoint), options.device, SharedAnalyzer)
            page = build_page(registry, SessionStore(), _examples())
        except InfantFERError as error:
            print(error, file=sys.stderr)
            return 1
        try:
            launch(page, options.host, options.port, options.allow_host)
        except (OSError, OverflowError):  # taken meanwhile
            return _refused(options)
    return 0


def _can_be_served(host: str, port: int) -> bool:
    """Return whether the address is free now, which is known before the checkpoint is loaded."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except (OSError, OverflowError):  # taken, or no address or port at all
        return False
    return True


def _refused(options: argparse.Namespace) -> int:
    address = f"{options.host}:{options.port}"
    print(f"The page cannot be served at {address}: choose a free port with --port.", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python app.py", description="Read the expression of infants' faces on a local page."
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="C",
        help="folder or Hub id (owner/name or owner/name@revision) to list first; may be given several times",
    )
    parser.add_argument("--port", type=int, default=os.environ.get("GRADIO_SERVER_PORT", "7860"), help="default 7860")
    parser.add_argument(
        "--host",
        default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        help="default 127.0.0.1: this computer only",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name that visitors may open the page by, as behind a reverse proxy; may be given several times",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    return parser


def _examples() -> list[Path]:
    return sorted((Path(__file__).parent / "examples").glob("*.jpg"))


if __name__ == "__main__":
    try:
        status = main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # while a thread computes a map, Python's own end is an abort by torch's C++ (SIGABRT)
