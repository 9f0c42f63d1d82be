"""Which names of TensorRT a source file mentions, as far as its text tells.

A file names the module `trt`. What stands for an object of TensorRT is told by its name: `OBJECTS`
has the class of each, by file. `left_out` finds what the table lacks.
"""

import ast

import trt_names

# By file of the package: the class of each variable, parameter or attribute of that name; None for
# what holds no object of TensorRT although a call of TensorRT gave it.
OBJECTS = {
    "build/gpu.py": {"builder": "Builder", "_runtime": "Runtime"},
    "build/engine.py": {
        "builder": "Builder",
        "cache": "ITimingCache",
        "config": "IBuilderConfig",
        "network": "INetworkDefinition",
        "parser": "OnnxParser",
        "problem": "ParserError",
        "profile": "IOptimizationProfile",
        "serialized": "IHostMemory",
        "tensor": "ITensor",
    },
}
OBJECTS["backends/trt.py"] = {"_runtime": "Runtime"}
OBJECTS["backends/trt_libraries.py"] = {}
OBJECTS["backends/trt_programs.py"] = {
    "_context": "IExecutionContext",
    "_engine": "ICudaEngine",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
}
# What is not TensorRT's, although TensorRT has members of such names, too.
OTHERS = {
    "backends/trt_libraries.py": {"gpu", "cuda", "libraries", "device"},
    "backends/trt.py": {"device", "gpu", "self", "found", "np", "severity"},
    "backends/trt_programs.py": {"gpu", "self", "features", "out", "each"},
    "build/gpu.py": {"cuda", "gpu", "log", "self", "device", "_context", "_lines", "error"},
    "build/engine.py": {"gpu", "log", "file", "recipe", "error", "device"},
}


def has(version, dotted):
    """Whether a version has "name", "Class.name" or "Enum.MEMBER"; members of bases count."""
    table = trt_names.table(version)
    owner, _, last = dotted.rpartition(".")
    if not owner:
        return any(last in table[part] for part in ("classes", "enums", "functions", "constants"))
    if last in table["enums"].get(owner, ()) or dotted in table["enums"]:
        return True
    if owner not in table["classes"]:
        return False
    found = table["classes"][owner]
    is_there = last in found["methods"] or last in found["properties"]
    return is_there or any(has(version, base + "." + last) for base in found["bases"])


class Names(ast.NodeVisitor):
    """Of one file: `used` (dotted names with their lines), `asked` for by hasattr, and `left_out`
    (lines with what the table does not know)."""

    def __init__(self, text, objects, others):
        self._objects, self._others = objects, others
        self.used, self.asked, self.left_out = [], set(), []
        self._known = {
            name
            for version in trt_names.VERSIONS
            for table in trt_names.table(version)["classes"].values()
            for name in list(table["methods"]) + list(table["properties"])
        } - set(dir(list) + dir(dict) + dir(str))
        self.visit(ast.parse(text))

    def _owner(self, node):
        """ "" for the module, a class for its objects and itself, None for what is neither."""
        if isinstance(node, ast.Name):
            return "" if node.id == "trt" else self._objects.get(node.id)
        if isinstance(node, ast.Attribute):
            if node.attr == "trt":
                return ""
            owner = self._owner(node.value)
            if owner == "":
                return node.attr
            if owner is not None and owner + "." + node.attr in self._nested():
                return owner + "." + node.attr
            return self._objects.get(node.attr) if owner is None else None
        return None

    @staticmethod
    def _nested():
        return trt_names.table(trt_names.VERSIONS[0])["enums"]

    def visit_Attribute(self, node):
        owner = self._owner(node.value)
        if owner is not None and not node.attr.startswith("__") and node.attr != "trt":
            self.used.append((node.lineno, (owner + "." if owner else "") + node.attr))
        elif owner is None and node.attr in self._known and not self._is_other(node.value):
            self.left_out.append((node.lineno, ast.dump(node.value)[:60] + " ." + node.attr))
        self.generic_visit(node)

    def _is_other(self, node):
        """Whether the root of a chain of calls, or a name on the way, is none of TensorRT's."""
        while isinstance(node, (ast.Call, ast.Subscript, ast.Attribute)):
            if getattr(node, "attr", None) in self._others:
                return True
            node = node.func if isinstance(node, ast.Call) else node.value
        return not isinstance(node, ast.Name) or node.id in self._others

    def visit_Call(self, node):
        called = getattr(node.func, "id", "")
        if called in ("hasattr", "getattr") and self._owner(node.args[0]) is not None:
            owner = self._owner(node.args[0])
            name = (owner + "." if owner else "") + ast.literal_eval(node.args[1])
            self.used.append((node.lineno, name))
            self.asked.add(name)
        self.generic_visit(node)

    def visit_Assign(self, node):
        self._check_assigned(node.targets, node)
        self.generic_visit(node)

    def visit_AnnAssign(self, node):
        self._check_assigned([node.target], node)
        self.generic_visit(node)

    def _check_assigned(self, targets, node):
        """What TensorRT gives must go into something whose class is known."""
        value = node.value
        if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
            return
        if self._owner(value.func.value) is None:
            return
        for target in targets:
            name = getattr(target, "id", getattr(target, "attr", None))
            if name not in self._objects:
                self.left_out.append((node.lineno, "assigns to {}".format(name)))
