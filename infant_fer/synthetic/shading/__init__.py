"""The look of a rendered infant: materials, light, rasteriser and camera."""
