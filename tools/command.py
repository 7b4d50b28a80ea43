"""The command `maxvit-dense`: each tool of this folder as a subcommand. Imports no torch until one runs."""

import ast
import difflib
import importlib
import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
_PROGRAM = "maxvit-dense"


def commands() -> dict[str, Path]:
    """Scripts by subcommand: `check-dataset` is check_dataset.py."""
    scripts = sorted(path for path in _FOLDER.glob("[a-z]*.py") if path != Path(__file__).resolve())
    return {path.stem.replace("_", "-"): path for path in scripts}


def _purpose(path: Path) -> str:
    """First line of a script's docstring, up to its example."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0].partition(":")[0].rstrip(".")


def _help() -> str:
    lines = [f"  {name:<20}{_purpose(path)}" for name, path in commands().items()]
    return f"usage: {_PROGRAM} COMMAND ...; {_PROGRAM} COMMAND --help tells more\n\n" + "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Exit code: that of the command; 2 if there is no such command."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name not in commands():
        near = difflib.get_close_matches(name, commands(), cutoff=0.4) or commands()
        print(f"{_PROGRAM}: there is no command {name!r}; there is {', '.join(near)}", file=sys.stderr)
        return 2
    sys.argv = [f"{_PROGRAM} {name}", *arguments]  # what argparse calls the program
    script = importlib.import_module(f"{__package__}.{commands()[name].stem}")
    return script.main(arguments)


if __name__ == "__main__":
    __package__ = "tools"
    sys.path.append(str(_FOLDER.parent))
    sys.exit(main())
