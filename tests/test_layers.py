"""Imports go one way: a file imports only from its own row or from rows above."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "equipose"

ROWS = [
    {"skeleton", "modality", "types", "errors", "registry", "config", "progress", "inspection", "files", "threads"},
    {"data"},
    {"simulate"},
    {"nn"},
    {"metrics", "contribution", "fisher", "fisher_outputs"},
    {"balance", "continual", "separation"},
    {"train"},
    {"report", "benchmark", "stream_benchmark", "export"},
    {"cli"},
]
ROW = {name: i for i, names in enumerate(ROWS) for name in names}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.name != "__init__.py")


def area(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


def imported_areas(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "equipose":
                names = [f"equipose.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("equipose.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_to_the_same_or_an_earlier_row(path):
    upward = {name for name in imported_areas(path) if ROW[name] > ROW[area(path)]}
    assert not upward, f"{path.name} imports {sorted(upward)} from a later row"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_import_has_a_side_effect(path):
    allowed = (
        ast.Import,
        ast.ImportFrom,
        ast.FunctionDef,
        ast.ClassDef,
        ast.Assign,
        ast.AnnAssign,
        ast.If,
    )
    for node in ast.parse(path.read_text()).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert docstring or isinstance(node, allowed), f"line {node.lineno} runs at import"


def test_core_vocabulary_imports_no_torch():
    light = {"skeleton", "modality", "errors", "registry", "config", "progress"}
    for name in light:
        text = (SOURCE / f"{name}.py").read_text()
        assert "import torch" not in text and "from torch" not in text
