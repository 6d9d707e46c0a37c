"""The shape of a rendered infant: base mesh, morph targets, occluders and landmarks."""
