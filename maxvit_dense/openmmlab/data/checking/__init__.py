"""Faults of a data set: of what a config reads (``checks``), and of any folder for ``check-dataset``."""
