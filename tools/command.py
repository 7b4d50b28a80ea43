"""The command `maxvit-dense`: each tool of this folder as a subcommand. Imports no torch until one runs."""

import ast
import difflib
import importlib
import importlib.metadata
import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
_PROGRAM = "maxvit-dense"
_NO_COMMANDS = {"command", "model_table"}  # the second writes docs/models.md of a checkout


def _commands() -> dict[str, Path]:
    """Scripts by subcommand: `check-dataset` is check_dataset.py."""
    scripts = sorted(path for path in _FOLDER.glob("[a-z]*.py") if path.stem not in _NO_COMMANDS)
    return {path.stem.replace("_", "-"): path for path in scripts}


def _purpose(path: Path) -> str:
    """First line of a script's docstring, up to its example."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0].partition(":")[0].rstrip(".")


def _help() -> str:
    lines = [f"  {name:<20}{_purpose(path)}" for name, path in _commands().items()]
    usage = f"usage: {_PROGRAM} COMMAND ...; {_PROGRAM} COMMAND --help tells more; {_PROGRAM} --version"
    return "\n".join([usage, "", *lines])


def main(argv: list[str] | None = None) -> int:
    """Exit code: that of the command; 2 if there is no such command."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(importlib.metadata.version("maxvit_dense"))
        return 0
    if name not in _commands():
        near = difflib.get_close_matches(name, _commands(), cutoff=0.4) or _commands()
        print(f"{_PROGRAM}: there is no command {name!r}; there is {', '.join(near)}", file=sys.stderr)
        return 2
    sys.argv = [f"{_PROGRAM} {name}", *arguments]  # what argparse calls the program
    return importlib.import_module(f".{_commands()[name].stem}", __package__).main(arguments)


if __name__ == "__main__":
    __package__ = "tools"
    sys.path.append(str(_FOLDER.parent))
    sys.exit(main())
