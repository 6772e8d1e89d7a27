"""The order of the floors: imports point only upwards in the map, torch only where it is allowed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "charrnn"

# Lowest first; a module may import those of its own floor and of any before it.
FLOORS = (
    ("config", "use_config", "settings", "errors", "files", "system"),
    ("text",),
    ("model",),
    ("training", "sampling", "evaluation"),
    ("inspection", "pages", "pretrained"),
    ("runs", "api"),
    ("cli",),
)

# Upward, and agreed: runs.py may be used by what opens runs, and training validates.
AGREED = {
    ("training", "charrnn.evaluation.torch_scorer"),
    ("training", "charrnn.runs"),
    ("pretrained", "charrnn.runs"),
}

TORCH = {
    "charrnn.model.network",
    "charrnn.model.torch_engine",
    "charrnn.model.device",
    "charrnn.evaluation.torch_scorer",
    "charrnn.evaluation.dynamic",
    "charrnn.inspection.gradients",
}


def module_name(path: Path, root: Path) -> str:
    """The dotted name of a file's module."""
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports, anywhere in it, and whether that happens at module level."""
    inside = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.walk(node)
        if child is not node
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they go"
            assert node.module is not None
            yield node.module, node not in inside
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node not in inside


def type_checking_only(tree: ast.AST) -> set[str]:
    """What is imported under ``if TYPE_CHECKING``, which imports no torch at run time."""
    return {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for name, _ in imports_of(node)
    }


class House:
    """What the modules under a folder import.

    Attributes:
        imports: each module's modules of the package, however and wherever they are imported.
        torch: the modules that import torch when they are imported.
        inits: the packages below the top whose ``__init__`` is not empty.
    """

    def __init__(self, package: Path) -> None:
        files = {module_name(path, package): path for path in sorted(package.rglob("*.py"))}
        self.imports: dict[str, set[str]] = {}
        self.torch: set[str] = set()
        self.inits: list[str] = []
        for name, path in files.items():
            text = path.read_text(encoding="utf-8")
            if path.name == "__init__.py" and path.parent != package and text:
                self.inits.append(name)
            tree = ast.parse(text)
            hidden = type_checking_only(tree)
            found = list(imports_of(tree))
            modules = {other for other, path in files.items() if path.name != "__init__.py"}
            self.imports[name] = {other for other, _ in found if other in modules - {name}}
            if any(n.split(".")[0] == "torch" and top and n not in hidden for n, top in found):
                self.torch.add(name)

    def upward(self) -> list[str]:
        """Imports that point to a higher floor, or to another folder of the same one."""
        floors = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}
        wrong = []
        for name, others in self.imports.items():
            folder = _folder(name)
            for other in others:
                target = _folder(other)
                if folder in ("", "__main__") or target == folder or (folder, other) in AGREED:
                    continue
                assert folder in floors, f"{name}: give its folder a floor"
                beside = floors[target] == floors[folder] and floors[folder] == floors["sampling"]
                if floors[target] > floors[folder] or beside:
                    wrong.append(f"{name} -> {other}")
        return wrong

    def circles(self) -> list[list[str]]:
        """Groups of modules that import each other, by whatever way (Tarjan, 1972)."""
        index: dict[str, int] = {}
        low: dict[str, int] = {}
        stack: list[str] = []
        found: list[list[str]] = []

        def visit(name: str) -> None:
            index[name] = low[name] = len(index)
            stack.append(name)
            for other in sorted(self.imports[name]):
                if other not in index:
                    visit(other)
                    low[name] = min(low[name], low[other])
                elif other in stack:
                    low[name] = min(low[name], index[other])
            if low[name] == index[name]:
                group = stack[stack.index(name) :]
                del stack[stack.index(name) :]
                if len(group) > 1:
                    found.append(sorted(group))

        for name in self.imports:
            if name not in index:
                visit(name)
        return found


def _folder(module: str) -> str:
    """The folder or top-level module below ``charrnn``; "" for the package itself."""
    return [*module.split("."), ""][1]


@pytest.fixture(scope="module")
def house() -> House:
    """The package as it is."""
    return House(PACKAGE)


def test_imports_point_to_lower_floors(house: House) -> None:
    """No module imports one of a higher floor, and training, sampling and evaluation stay apart."""
    assert house.upward() == []


def test_there_are_no_circles(house: House) -> None:
    """No modules import each other in a circle, those for type checking included."""
    assert house.circles() == []


def test_torch_is_imported_only_where_agreed(house: House) -> None:
    """Importing any other module leaves torch alone."""
    allowed = {name for name in house.imports if name in TORCH or _folder(name) == "training"}
    assert house.torch <= allowed
    assert house.torch >= TORCH


def test_packages_are_empty(house: House) -> None:
    """No ``__init__.py`` below charrnn/ holds anything."""
    assert house.inits == []


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A package with one module on each floor, all of them innocent."""
    package = tmp_path / "charrnn"
    for folder in ("text", "model", "evaluation", "sampling"):
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "text" / "items.py").write_text("import os\n")
    (package / "model" / "file.py").write_text("from charrnn.text.items import x\n")
    (package / "evaluation" / "measure.py").write_text("from charrnn.model import file\n")
    (package / "sampling" / "writer.py").write_text("")
    return package


def test_the_innocent_package_passes(planted: Path) -> None:
    """The rules find nothing where nothing is wrong."""
    house = House(planted)
    assert [*house.upward(), *house.circles(), *house.inits] == []
    assert house.torch == set()


@pytest.mark.parametrize(
    "line",
    [
        "from charrnn.model.file import load_model",
        "import charrnn.model.file",
        "from charrnn.model import file",
        "def f():\n    from charrnn.model.file import load_model",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from charrnn.model import file",
    ],
)
def test_a_planted_upward_import_is_found(planted: Path, line: str) -> None:
    """An import that points upwards fails, however it is written; here it also closes a circle."""
    (planted / "text" / "items.py").write_text(line + "\n")
    house = House(planted)
    assert "charrnn.text.items -> charrnn.model.file" in house.upward()
    assert house.circles() == [["charrnn.model.file", "charrnn.text.items"]]


def test_a_planted_import_across_is_found(planted: Path) -> None:
    """Sampling does not import evaluation, though they are on one floor."""
    (planted / "sampling" / "writer.py").write_text("from charrnn.evaluation import measure\n")
    assert House(planted).upward() == ["charrnn.sampling.writer -> charrnn.evaluation.measure"]


def test_planted_torch_is_found(planted: Path) -> None:
    """Torch at module level is found, also under a condition; within a function, or for types, it may be."""
    (planted / "text" / "items.py").write_text("if 1 > 0:\n    from torch import nn\n")
    (planted / "model" / "file.py").write_text("def f():\n    import torch\n")
    (planted / "sampling" / "writer.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
    )
    assert House(planted).torch == {"charrnn.text.items"}


def test_a_planted_init_is_found(planted: Path) -> None:
    """An ``__init__.py`` that imports for others is found."""
    (planted / "model" / "__init__.py").write_text("from charrnn.model.file import x\n")
    assert House(planted).inits == ["charrnn.model"]


LINES_OF_A_MODULE, LINES_OF_A_FUNCTION = 350, 50


def test_modules_and_functions_are_short() -> None:
    """No module has more than 350 lines and no function more than 50, docstring included."""
    long = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > LINES_OF_A_MODULE:
            long.append(path.name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                callback = any("command" in ast.dump(decorator) for decorator in node.decorator_list)
                if node.end_lineno - node.lineno >= LINES_OF_A_FUNCTION and not callback:
                    long.append(f"{path.name}: {node.name}")
    assert long == []
