"""The Lab tab: a rendered infant moved by sliders."""
