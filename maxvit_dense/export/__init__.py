"""Weights out: where they come from, what run made them, the files and the card that are written."""
