"""Data sets: classes, checks and conversion."""
