"""The files of configs/: which there are, what each inherits and what it says itself."""

import ast
from functools import cache
from pathlib import Path
from types import FunctionType

from mmengine.config import Config, ConfigDict

FOLDER = Path(__file__).resolve().parent.parent / "configs"
BASES = sorted((FOLDER / "_base_").glob("*.py"))
CONFIGS = sorted(p for p in FOLDER.rglob("*.py") if p not in BASES)


def find(name: str) -> Path:
    """The config of that name, whichever folder it is in."""
    (path,) = [path for path in CONFIGS if path.stem == name]
    return path


@cache
def _load(path: Path) -> Config:
    return Config.fromfile(path)


def load(path: Path | str) -> ConfigDict:
    """A copy of what the config of that path or name resolves to."""
    return ConfigDict(_load(path if isinstance(path, Path) else find(path)).to_dict())


def _statements(path: Path) -> tuple[ast.Module, list[str]]:
    """The file without its list of bases, and that list."""
    module, bases = ast.parse(path.read_text()), []
    for node in module.body[:]:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_base_":
            module.body.remove(node)
            value = ast.literal_eval(node.value)
            bases = value if isinstance(value, list) else [value]
    return module, bases


def parents(path: Path) -> list[Path | str]:
    """Files that a config names as its bases; those of an installed package as they are named there."""
    return [base if "::" in base else (path.parent / base).resolve() for base in _statements(path)[1]]


def levels(path: Path | str) -> int:
    """How many files lie between a config and the end of its longest line of parents, which is counted."""
    above = [] if isinstance(path, str) else parents(path)
    return 1 + max(map(levels, above)) if above else 0


def installed_keys(path: Path | str) -> set[str]:
    """Top-level names that the installed package's files among a config's parents set."""
    if isinstance(path, str):
        return set(_from_text(f'_base_ = "{path}"'))
    return set().union(*map(installed_keys, parents(path)))


@cache
def _from_text(text: str) -> ConfigDict:
    return ConfigDict(Config.fromstring(text, ".py").to_dict())


def inherited(path: Path) -> ConfigDict:
    """What a config's bases resolve to, before its own statements."""
    bases = [str(base) for base in parents(path)]
    return _from_text(f"_base_ = {bases}") if bases else ConfigDict()


def own(path: Path) -> dict:
    """What a config's own statements say."""
    names = {"_base_": ConfigDict(inherited(path).to_dict())}
    exec(compile(_statements(path)[0], str(path), "exec"), names)
    hidden = ("_base_", "__builtins__")
    return {key: value for key, value in names.items() if key not in hidden and not isinstance(value, FunctionType)}


def restated(mine: dict, theirs: dict, prefix: str = "") -> list[str]:
    """Dotted names of values that equal the inherited ones."""
    found = []
    for key in mine.keys() & theirs.keys():
        if isinstance(mine[key], dict) and isinstance(theirs[key], dict):
            if not mine[key].get("_delete_"):
                found += restated(mine[key], theirs[key], f"{prefix}{key}.")
        elif mine[key] == theirs[key]:
            found.append(prefix + key)
    return found
