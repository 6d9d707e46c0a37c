"""The server makes no connection to anywhere but this computer, from start to a finished analysis."""

import subprocess
import sys
import textwrap

import pytest

from tests.conftest import EXAMPLES, ROOT

pytestmark = pytest.mark.slow

GUARDED = textwrap.dedent(
    """
    import ipaddress, socket, sys
    refused = []
    real = socket.socket.connect
    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not ipaddress.ip_address(address[0]).is_loopback:
            refused.append(address)
            raise OSError("only loopback")
        return real(self, address)
    socket.socket.connect = guarded
    looked_up = []
    real_lookup = socket.getaddrinfo
    def lookup(host, *args, **kwargs):
        if host not in ("127.0.0.1", "localhost", "::1", None):
            looked_up.append(host)
            raise OSError("only loopback")
        return real_lookup(host, *args, **kwargs)
    socket.getaddrinfo = lookup

    from infant_fer.ui.uploads import private_upload_folder
    with private_upload_folder():
        from infant_fer.ui.page import build_page
        from infant_fer.ui.server import launch
        from infant_fer.ui.sessions import SessionStore
        from infant_fer.checkpoints.registry import CheckpointRegistry, available_checkpoints
        page = build_page(CheckpointRegistry(available_checkpoints()), SessionStore(), [])
        url = launch(page, port=0 or None, block=False)
        import gradio_client
        client = gradio_client.Client(url, download_files=False, analytics_enabled=False, verbose=False)
        report = client.predict(gradio_client.handle_file(sys.argv[1]), api_name="/analyze")
        assert report["faces"], report
        assert not page.state_holder.session_data  # where Gradio keeps every component's last value
        page.close()
    print("REFUSED", refused, "LOOKED UP", looked_up)
    """
)


def test_no_connection_leaves_loopback():
    run = subprocess.run(
        [sys.executable, "-c", GUARDED, str(EXAMPLES / "smile.jpg")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert "REFUSED [] LOOKED UP []" in run.stdout, run.stdout[-2000:] + run.stderr[-3000:]
