"""The Gradio page, one module per tab.

Gradio and huggingface_hub read these switches when they are first imported, so they are set before any module here is.
"""

import os

os.environ.update(
    GRADIO_ANALYTICS_ENABLED="False",
    GRADIO_RUN_HISTORY="False",
    HF_HUB_DISABLE_TELEMETRY="1",
    DISABLE_TELEMETRY="YES",
)
