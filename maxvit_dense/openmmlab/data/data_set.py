"""The data sets of a config, in one structure: checks read it and return faults, ``configure`` edits its entries."""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from ...errors import InputError

PHASES = ("train", "val", "test")


@dataclass(frozen=True)
class DataSet:
    """A data set that reads files, inside any nesting of wrappers (RepeatDataset, ConcatDataset, ...).

    Attributes:
        phase: of ``PHASES``.
        entry: of the config, which changes with it.
        scope: of the config, where the entry's type is looked up.
    """

    phase: str
    entry: ConfigDict
    scope: str | None = None

    @property
    def kind(self) -> type:
        """Its class.

        Raises:
            InputError: there is none of that name.
        """
        name = self.entry["type"]
        with DATASETS.switch_scope_and_registry(self.scope) as registry:
            kind = name if isinstance(name, type) else registry.get(name)
        if kind is None:
            raise InputError(
                f"The config asks for a data set of type {name}, which is not registered. Check its spelling, "
                "or import the module that defines it with custom_imports."
            )
        return kind

    @property
    def classes(self) -> tuple[str, ...]:
        """The config's, else those of its type."""
        return tuple(self.kind._load_metainfo(self.entry.get("metainfo")).get("classes", ()))

    @property
    def root(self) -> str:
        return self.entry.get("data_root") or ""

    @property
    def annotations(self) -> str:
        """Path of its annotation file."""
        return os.path.join(self.root, self.entry.get("ann_file", ""))

    @property
    def images(self) -> str:
        """The folder that names of images in a COCO file are relative to."""
        return os.path.join(self.root, self.entry.get("data_prefix", {}).get("img", ""))

    @property
    def pipeline(self) -> list[ConfigDict]:
        return self.entry.get("pipeline", [])

    @property
    def is_local(self) -> bool:
        """Its files are of this machine."""
        return not is_remote(self.annotations)

    @property
    def is_coco(self) -> bool:
        """It reads a COCO annotation file of this machine."""
        return self.kind.load_data_list.__module__ == "mmdet.datasets.coco" and self.is_local

    @property
    def is_masks(self) -> bool:
        """It is of mmseg, which is not imported for this: it has been where there is one."""
        module = sys.modules.get("mmseg.datasets")
        return module is not None and issubclass(self.kind, module.BaseSegDataset)

    def unlisted(self) -> Any:
        """One of mmseg, made, that has not listed its files yet.

        Raises:
            InputError: an argument that it does not take.
        """
        arguments = {key: value for key, value in self.entry.items() if key not in ("type", "pipeline", "lazy_init")}
        try:
            return self.kind(**arguments, pipeline=[], lazy_init=True)
        except (TypeError, ValueError, AssertionError) as error:
            raise InputError(
                f"The {self.phase} set of the config, {self.kind.__name__}, cannot be made: {error}"
            ) from error


def data_sets(cfg: Config, phases: Iterable[str]) -> list[DataSet]:
    """All data sets of ``phases`` that read files."""
    loaders = [(phase, cfg.get(f"{phase}_dataloader")) for phase in phases]
    leaves = [(phase, entry) for phase, loader in loaders if loader for entry in _leaves(loader["dataset"])]
    return [DataSet(phase, entry, cfg.get("default_scope")) for phase, entry in leaves]


def coco_sets(cfg: Config, phases: Iterable[str]) -> list[DataSet]:
    """Those that read a COCO annotation file of this machine."""
    return [data for data in data_sets(cfg, phases) if data.is_coco]


def evaluators(cfg: Config, phases: Iterable[str]) -> Iterator[ConfigDict]:
    """Each evaluator of ``phases``."""
    for phase in phases:
        evaluator = cfg.get(f"{phase}_evaluator") or []
        yield from [evaluator] if isinstance(evaluator, dict) else evaluator


def is_remote(path: str) -> bool:
    return "://" in path


def _leaves(dataset: ConfigDict) -> Iterator[ConfigDict]:
    inner = [dataset["dataset"]] if "dataset" in dataset else dataset.get("datasets", [])
    if not inner:
        yield dataset
    for item in inner:
        yield from _leaves(item)
