"""Where the package's configs are, by name. Imports the standard library alone: command lines load it by its path.

A wheel holds them in ``.mim/configs``, where mmengine looks for ``package::file``; in a checkout that is a link to
``configs/``.
"""

import difflib
from pathlib import Path

CONFIGS = Path(__file__).resolve().parent / ".mim" / "configs"
_PARTS = "_base_"
_NEAR = 5


class UnknownConfig(ValueError):
    """No such config; the text names near ones."""


def config_names() -> dict[str, Path]:
    """Every config that a run can be started with, by its name without suffix."""
    paths = CONFIGS.resolve().rglob("*.py")
    return {path.stem: path for path in sorted(paths) if _PARTS not in path.relative_to(CONFIGS.resolve()).parts}


def find_config(name: str) -> Path:
    """The file of a config given as a path, or as one of the package's by its name, with or without suffix.

    A path that is no file is a mistake even where the package has a config of that name: it may mean one's own.

    Raises:
        UnknownConfig: neither.
    """
    return Path(name) if Path(name).is_file() else find_base(name)


def find_base(name: str) -> Path:
    """The file that a ``_base_`` of ``maxvit_dense::name`` means: a path below ``configs/``, or a config's name.

    Raises:
        UnknownConfig: neither.
    """
    stem, known = name.removesuffix(".py"), config_names()
    if stem in known:
        return known[stem]
    path = CONFIGS / f"{stem}.py"
    if path.is_file():
        return path
    near = difflib.get_close_matches(Path(stem).name, known, _NEAR, cutoff=0.5)
    raise UnknownConfig(
        f"There is no config {name}, neither a file nor one of this package's. "
        + (f"Near ones: {', '.join(near)}." if near else f"It has {', '.join(list(known)[:_NEAR])}, ...")
    )
