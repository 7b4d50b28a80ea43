"""Measures speed and memory of this package's networks beside timm's and torchvision's; see tools/benchmark.py.

`rows` says what is measured, `worker` measures one row in a process of its own, `session` runs rows side by side.
"""
