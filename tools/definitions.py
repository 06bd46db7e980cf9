"""A notebook's own definitions, without running the notebook."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TWINS = ROOT / "notebooks" / "py"


def _defined(node):
    """Names that a top-level statement defines (none for other statements)."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, ast.Assign):
        names = [name for target in node.targets for name in ast.walk(target)]
        return {name.id for name in names if isinstance(name, ast.Name)}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    return set()


def load_definitions(twin, names, extra_namespace=None):
    """Execute the imports of a twin's file and the definitions asked for: see ``define``.

    Args:
        twin: path of the py:percent twin, or its stem ("01_q_table").
        names: functions, classes and assigned names to define; what they use comes along.
        extra_namespace: names that are there beforehand.
    """
    path = Path(twin) if str(twin).endswith(".py") else TWINS / f"{twin}.py"
    return define(path.read_text(encoding="utf-8"), names, extra_namespace, str(path))


def define(source, names, extra_namespace=None, filename="twin"):
    """Execute a twin's imports, the definitions asked for, and those that they use; nothing else.

    Functions, classes and capitalised names that a definition mentions are defined too. Other
    assigned names, such as the result of a training, are not: ask for them, or hand in a stand-in.

    Args:
        source: text of the py:percent twin.
        names: functions, classes and assigned names to define.
        extra_namespace: names that are there beforehand, such as stand-ins. The definitions
            asked for replace those of the same name; the others stay as they are.
        filename: what tracebacks call the source.

    Returns:
        The namespace, a dictionary.

    Raises:
        ValueError: if the twin does not define one of the names.
    """
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    statements, extra_namespace = ast.parse(source).body, extra_namespace or {}
    places = {}  # name: the statements that define it
    for node in statements:
        for name in _defined(node):
            places.setdefault(name, []).append(node)
    if unknown := sorted(set(names) - set(places)):
        raise ValueError(f"expected {filename} to define {unknown}, it does not")
    wanted, queue = set(), list(names)
    while queue:
        name = queue.pop()
        if name in wanted:
            continue
        wanted.add(name)
        for node in places[name]:
            used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            queue += [
                other
                for other in used - set(extra_namespace)
                if other in places and (other[0].isupper() or _is_code(places[other]))
            ]
    body = [
        node
        for node in statements
        if isinstance(node, (ast.Import, ast.ImportFrom)) or _defined(node) & wanted
    ]
    # dataclasses look their module up, so the namespace needs a name that exists
    namespace = {"__name__": __name__, **extra_namespace}
    exec(compile(ast.Module(body, []), filename, "exec"), namespace)
    return namespace


def _is_code(nodes):
    """Whether a name stands for a function or a class."""
    return any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in nodes)


def class_source(twin, name):
    """Source text of one class of a twin, to the character."""
    text = (TWINS / f"{twin}.py").read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return ast.get_source_segment(text, node)
    raise ValueError(f"expected {twin}.py to define the class {name}, it does not")
