"""Packages of the distribution, which setup.cfg cannot spell: tools/ is installed under another name than its own."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["maxvit_dense", "maxvit_dense.*"]), "maxvit_dense_tools"],
    package_dir={"maxvit_dense_tools": "tools"},
)
