"""Weights in: files read safely, foreign layouts renamed, tables fitted to a network."""
