"""Data sets: what a config reads, its layouts and other formats, their faults, and the config fitted to them."""
