"""Measures speed and memory of this package's networks beside timm's and torchvision's; see tools/benchmark.py.

`specs` <- `networks`, `counting`, `memory` <- `worker`, `machine` <- `session` <- `report`, `plot`; `processes` runs
workers, `presets` holds what is measured.
"""
