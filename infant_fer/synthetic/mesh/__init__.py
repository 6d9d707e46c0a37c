"""The shape of a rendered infant: base mesh, morph targets, mouth, occluders and landmarks."""
