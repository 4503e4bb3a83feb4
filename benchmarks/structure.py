"""The shape of the packages: how long modules, functions and classes are, what is named vaguely, what has no docstring.

``make structure``. Generated modules are left out. The exit status is 1 where a bound is passed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = (
    "core/tandem",
    "transformer/tandem_transformer",
    "predictor/tandem_predictor",
    "rollout/tandem_rollout",
    "offline/tandem_offline",
    "stream/tandem_stream",
    "cli/tandem_cli",
)
GENERATED: Final = re.compile(r"_pb2\.py$|/template/")

VAGUE: Final = frozenset(
    """
    found told each made given asked seen known said wanted taken kept held left done got put meant
    it them those these this that one ones other others some what who whose which whom
    thing things stuff tmp temp foo bar obj val res ret
    """.split()  # noqa: SIM905 (a list of words is read more easily)
)
"""Pronouns, participles and placeholders: they say nothing of what a local variable holds."""

SHORT_MODULE: Final = 30
BOUNDS: Final[Mapping[str, float]] = {
    "module_median": 110,
    "module_p90": 260,
    "module_max": 450,
    "function_median": 7,
    "function_p90": 21,
    "function_max": 60,
    "class_max": 200,
    "vague_percent": 1.0,
    "short_modules": 8,
    "undocumented": 0,
    "cycles": 0,
}
"""Most of each."""


@dataclass
class Structure:
    """What was measured.

    Attributes:
        modules: Lines by module.
        functions: Lines by function.
        classes: Lines by class.
        names: Local names, and whether each is vague, by where it is.
        undocumented: Public names without a docstring.
        imports: Modules that each module imports when it is loaded.
    """

    modules: dict[str, int] = field(default_factory=dict)
    functions: dict[str, int] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    names: list[tuple[str, str]] = field(default_factory=list)
    undocumented: list[str] = field(default_factory=list)
    imports: dict[str, set[str]] = field(default_factory=dict)


def measure(packages: Iterable[Path]) -> Structure:
    """The structure of all modules below some packages."""
    structure = Structure()
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            name = str(path.relative_to(package.parent))
            if not GENERATED.search(name):
                _add(structure, name, path.read_text())
    loaded = set(structure.imports)
    for name, imported in structure.imports.items():
        modules = {_module(entry, loaded) for entry in imported}
        structure.imports[name] = (modules & loaded) - {name}
    return structure


def _module(imported: str, modules: set[str]) -> str:
    """The module that is imported; ``package:name`` is a module of the package, or something that the package has."""
    package, _, name = imported.partition(":")
    return module if (module := f"{package}.{name}") in modules else package


def _add(structure: Structure, name: str, text: str) -> None:
    tree = ast.parse(text)
    structure.modules[name] = len(text.splitlines())
    if not ast.get_docstring(tree) and text.strip():
        structure.undocumented.append(name)
    module = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    package = module if name.endswith("__init__.py") else module.rpartition(".")[0]
    structure.imports[module] = set(_imports(tree.body, package))
    for node, owner, is_local in _definitions(tree, name):
        where = f"{owner}:{node.name}"
        size = (node.end_lineno or node.lineno) - node.lineno + 1
        if isinstance(node, ast.ClassDef):
            structure.classes[where] = size
        else:
            structure.functions[where] = size
            structure.names += [(where, local) for local in _locals(node)]
        if not is_local and not node.name.startswith("_") and not ast.get_docstring(node):
            structure.undocumented.append(where)


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _definitions(node: ast.AST, owner: str, *, is_local: bool = False) -> Iterator[tuple[Definition, str, bool]]:
    """Definitions below a node, where they are, and whether they are private, overloads, or within a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in child.decorator_list}
            yield child, owner, is_local or bool(decorators & {"overload", "setter"})
            hidden = is_local or child.name.startswith("_") or not isinstance(child, ast.ClassDef)
            yield from _definitions(child, f"{owner}:{child.name}", is_local=hidden)
        else:
            yield from _definitions(child, owner, is_local=is_local)


def _locals(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Names that a function binds, beside its parameters and those of functions within it."""
    names = set()
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, Definition):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        pending.extend(ast.iter_child_nodes(node))
    return {name for name in names if name != "_"}


def _imports(body: Sequence[ast.stmt], package: str) -> Iterator[str]:
    """What is imported as a module is loaded, and not for type checking only: ``module``, or ``package:name``."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base]).strip(".")
            yield from (f"{base}:{alias.name}" for alias in node.names)
        elif (isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test)) or isinstance(node, ast.Try):
            yield from _imports([*node.body, *node.orelse], package)


def cycles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Sets of more than one module that import each other, directly or not (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        stack.append(module)
        for imported in sorted(imports.get(module, ())):
            if imported not in index:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in stack:
                lowest[module] = min(lowest[module], index[imported])
        if lowest[module] == index[module]:
            component = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(component) > 1:
                components.append(sorted(component))

    for module in sorted(imports):
        if module not in index:
            visit(module)
    return components


def figures(structure: Structure) -> dict[str, float]:
    """One number for each bound."""
    modules, functions = sorted(structure.modules.values()), sorted(structure.functions.values())
    vague = sum(name in VAGUE for _, name in structure.names)
    return {
        "module_median": _quantile(modules, 0.5),
        "module_p90": _quantile(modules, 0.9),
        "module_max": modules[-1],
        "function_median": _quantile(functions, 0.5),
        "function_p90": _quantile(functions, 0.9),
        "function_max": functions[-1],
        "class_max": max(structure.classes.values()),
        "vague_percent": round(100 * vague / len(structure.names), 2),
        "short_modules": len(_short(structure.modules)),
        "undocumented": len(structure.undocumented),
        "cycles": len(cycles(structure.imports)),
    }


def _short(modules: Mapping[str, int]) -> dict[str, int]:
    """Modules of a few lines, beside those that only stand for their package."""
    stands = ("__init__.py", "__main__.py")
    return {name: lines for name, lines in modules.items() if lines < SHORT_MODULE and not name.endswith(stands)}


def _quantile(values: Sequence[int], share: float) -> int:
    return values[min(int(share * len(values)), len(values) - 1)]


def _table(title: str, sizes: Mapping[str, int], bound: float) -> Table | None:
    """What is longer than a bound, the longest first; None for nothing."""
    long = sorted(((lines, name) for name, lines in sizes.items() if lines > bound), reverse=True)
    if not long:
        return None
    table = Table(title=title, title_justify="left")
    table.add_column("lines", justify="right")
    table.add_column("where")
    for lines, name in long:
        table.add_row(str(lines), name)
    return table


def main() -> int:
    """Print what is beyond its bound, and a closing line with all figures."""
    structure = measure(ROOT / package for package in PACKAGES)
    console = Console(width=140, soft_wrap=True)
    tables = (
        _table("modules", structure.modules, BOUNDS["module_max"]),
        _table("functions", structure.functions, BOUNDS["function_max"]),
        _table("classes", structure.classes, BOUNDS["class_max"]),
        _table(
            f"modules under {SHORT_MODULE} lines",
            _short(structure.modules),
            0,
        ),
    )
    for table in tables:
        if table is not None:
            console.print(table)
    for where, name in structure.names:
        if name in VAGUE:
            console.print(f"vague name {name} in {where}")
    for name in structure.undocumented:
        console.print(f"no docstring: {name}")
    for component in cycles(structure.imports):
        console.print(f"import each other: {', '.join(component)}")
    measured = figures(structure)
    print("structure: " + " ".join(f"{name}={value:g}" for name, value in measured.items()))
    return int(any(measured[name] > bound for name, bound in BOUNDS.items()))


if __name__ == "__main__":
    sys.exit(main())
