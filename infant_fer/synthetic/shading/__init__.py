"""Colour and light of a rendered infant, from surface points to pixels."""
