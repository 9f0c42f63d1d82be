"""The rules of the house, read off the source: floors, doors, purity, sizes, words.

`docs/architecture.md` has the reasons. A rule that needs an exception changes here, in its table,
where a reader sees it.
"""

import ast
import fnmatch
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "edgesdk"

# Each floor may import itself and those above it in this list, never those below.
FLOORS = [
    ["errors", "schema", "files", "token_bucket", "arrays", "figures"],
    ["core"],
    ["kernels"],
    [
        "codec",
        "bundle",
        "bundle_update",
        "engine_store",
        "golden",
        "manifest",
        "preprocess",
        "profiles",
        "outcomes",
        "features",
        "digits",
    ]
    + ["addresses", "algorithms", "choices", "cluster", "core_spec", "document", "key_files"]
    + ["placement_file", "results", "trace"],
    ["telemetry"],
    ["backends"],
    ["runtime", "sim", "streams"],
    ["opening", "pipeline"],
    ["__init__", "cli", "bench", "build", "demo", "doctor", "keys", "plan", "progress"]
    + ["push", "replayed", "report", "simulate", "soak", "timeline", "top", "worker"],
]
NEVER_IMPORTS = {"sim": ["runtime", "backends", "kernels"], "runtime": ["sim"]}

# Who may import what: the one module that knows a library, and the places that measure or train.
DOORS = {
    "zmq": ["doctor/probes.py", "runtime/zeromq*.py", "keys.py", "bench/*"],
    "tensorrt": ["backends/trt_libraries.py", "doctor/probes.py"],
    "pycuda": ["backends/trt_libraries.py", "doctor/probes.py"],
    "onnxruntime": ["doctor/probes.py", "backends/onnx_runtime.py", "build/half.py", "train/*"]
    + ["bench/*"],
    "torch": ["doctor/probes.py", "backends/pytorch*.py", "train/*", "bench/*"],
    "onnx": ["backends/pytorch*.py", "build/half.py", "train/*", "bench/link_bundle.py"]
    + ["bench/peers_static.py"],
    "grpc": ["bench/link_grpc.py"],
    "zstandard": ["codec.py"],
    "lz4": ["codec.py"],
    "prometheus_client": ["telemetry/prometheus.py"],
    "sklearn": ["digits.py"],
    "PIL": ["digits.py", "train/*", "bench/*"],
    "matplotlib": ["demo/pictures.py", "digits.py", "figures.py", "report/*", "train/*"]
    + ["bench/*"],
    "scipy": ["plan/milp.py"],
    "rich": [name + "*" for name in FLOORS[-1]] + ["train/*"],
    "tqdm": [name + "*" for name in FLOORS[-1]] + ["train/*"],
}
# A bench reads data sets by the readers of training, which need no torch, where it is asked to.
READS_DATA_SETS = {
    "edgesdk/bench/images.py": ["edgesdk.train.cifar_batches", "edgesdk.train.image_files"]
}
# struct and zlib for the wire: packing and crc32 are functions of bytes, and nothing else.
CORE_IMPORTS = {"typing", "collections", "math", "heapq", "enum", "random", "struct", "zlib"}
CORE_IMPORTS |= {"edgesdk"}
# CIFAR-10 is published as pickles; this module's unpickler knows three names and calls nothing.
RESTRICTED_UNPICKLER = "edgesdk/train/cifar_batches.py"
UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}

SOURCE_LINES_MAX = 400
TEST_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
SOURCE_SUFFIXES = (".py", ".h", ".cpp", ".cu", ".pyx", ".pxd")

# Tests of several modules at once, or of files outside the package.
CROSS_CUTTING_TESTS = {
    "test_among_neighbours.py",
    "test_build.py",
    "test_closing_among_neighbours.py",
    "test_closing.py",
    "test_cuda.py",
    "test_cuda_compiles.py",
    "test_cuda_double.py",
    "test_device_tier.py",
    "test_ensembles.py",
    "test_docs.py",
    "test_examples.py",
    "test_getting_started.py",
    "test_grafana_dashboard.py",
    "test_hostile.py",
    "test_kernels_cpp.py",
    "test_kernels_double.py",
    "test_kills.py",
    "test_layout.py",
    "test_leaving.py",
    "test_libzmq.py",
    "test_links.py",
    "test_live_scenarios.py",
    "test_makefile.py",
    "test_bad_models.py",
    "test_names_used.py",
    "test_namespaces.py",
    "test_partitions.py",
    "test_plan_fleet.py",
    "test_plan_simulated.py",
    "test_pauses.py",
    "test_proxy.py",
    "test_raw_peer.py",
    "test_readme.py",
    "test_ros2_node.py",
    "test_stress.py",
    "test_system_packages.py",
    "test_trt_behaviour.py",
    "test_trt_double.py",
    "test_trt_int8.py",
    "test_trt_names.py",
    "test_tun_link.py",
    "test_upgrades.py",
    "test_moving_stages.py",
}

NOT_SOURCE = {  # of the top folder
    ".git",
    ".venv",
    ".venv36",
    ".hypothesis",
    "build",
    "dist",
    "runs",
    "out",
}


def source_files(*suffixes):
    """Files of the project; without git, so that the rules also hold in an unpacked archive."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        ignored = parts[0] in NOT_SOURCE or any(
            part.endswith((".egg-info", "_cache", "__pycache__")) for part in parts
        )
        if not ignored and path.is_file() and (not suffixes or path.suffix in suffixes):
            yield path


def lines_of(path):
    return path.read_bytes().decode("utf-8", "ignore").splitlines()


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def module_of(path):
    """edgesdk/core/exits.py -> "edgesdk.core.exits"; a package is its __init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def report(violations):
    """Fail with one line for each violation, and no traceback."""
    lines = list(violations)
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


TREES = {path: ast.parse(path.read_text("utf-8")) for path in source_files(".py")}
SOURCES = {path: tree for path, tree in TREES.items() if PACKAGE in path.parents}
MODULES = {module_of(path): path for path in SOURCES}


def imports(path):
    """(line, absolute dotted name) of every import in a file, those inside functions included."""
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                name = ".".join(base + ([node.module] if node.module else []))
                submodule = "{}.{}".format(name, alias.name)
                yield node.lineno, submodule if submodule in MODULES else name
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            for name in (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)):
                yield node.lineno, str(name)


def called(call):
    """The last part of the called name: "load" for torch.load(...)."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def inner_imports(path):
    """(line, module) of imports within edgesdk; `from . import __version__` is none."""
    for line, name in imports(path):
        if name.startswith("edgesdk.") and name in MODULES:
            yield line, name


def component(module):
    """ "core" for edgesdk.core.exits, "errors" for edgesdk.errors, "__init__" for edgesdk."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def floor_of(module):
    return next((i for i, names in enumerate(FLOORS) if component(module) in names), None)


def test_every_module_has_a_floor():
    report(
        "{}: on no floor; add {!r} to FLOORS".format(name_of(path), component(module))
        for module, path in MODULES.items()
        if floor_of(module) is None and component(module) != "train"
    )


def test_imports_never_point_to_a_later_floor():
    report(
        "{}:{}: imports {}, which stands on a later floor".format(name_of(path), line, target)
        for module, path in MODULES.items()
        for line, target in inner_imports(path)
        if floor_of(module) is not None
        and floor_of(target) is not None
        and floor_of(target) > floor_of(module)
    )


def test_nothing_outside_train_imports_train():
    report(
        "{}:{}: imports {}; train stands beside the tower".format(name_of(path), line, target)
        for module, path in MODULES.items()
        for line, target in inner_imports(path)
        if component(target) == "train" and component(module) != "train"
        if target not in READS_DATA_SETS.get(name_of(path), ())
    )


def test_the_simulator_and_the_runtime_share_only_the_core():
    report(
        "{}:{}: {} never imports {}".format(name_of(path), line, component(module), target)
        for module, path in MODULES.items()
        for line, target in inner_imports(path)
        if component(target) in NEVER_IMPORTS.get(component(module), ())
    )


def test_there_are_no_import_cycles():
    waiting = {module: {name for _, name in inner_imports(p)} for module, p in MODULES.items()}
    while True:
        free = [module for module, needs in waiting.items() if not needs & set(waiting)]
        if not free:
            break
        for module in free:
            del waiting[module]
    assert not waiting, "these import each other (or need one that does): " + ", ".join(waiting)


@pytest.mark.parametrize("library", sorted(DOORS))
def test_a_library_enters_through_its_door(library):
    report(
        "{}:{}: imports {}; its doors are {}".format(name_of(path), line, name, DOORS[library])
        for path in SOURCES
        for line, name in imports(path)
        if name.split(".")[0] == library
        and not any(fnmatch.fnmatch(name_of(path)[8:], door) for door in DOORS[library])
    )


def core_files():
    return [path for path in SOURCES if PACKAGE / "core" in path.parents]


def test_the_core_imports_only_pure_modules():
    report(
        "{}:{}: imports {}; core takes time, randomness and data as arguments".format(
            name_of(path), line, name
        )
        for path in core_files()
        for line, name in imports(path)
        if name.split(".")[0] not in CORE_IMPORTS
        or (name.startswith("edgesdk") and component(name) not in ("core", "errors"))
    )


def test_the_core_opens_nothing_and_draws_nothing():
    for path in core_files():
        for node in ast.walk(TREES[path]):
            place = "{}:{}".format(name_of(path), getattr(node, "lineno", 0))
            if isinstance(node, ast.Call):
                assert called(node) not in ("open", "print", "input"), place + ": input or output"
                assert called(node) != "Random", place + ": a generator is injected, not made"
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "random":
                assert node.attr == "Random", place + ": the global generator random." + node.attr


def test_files_are_short():
    def limit(path):
        return TEST_LINES_MAX if ROOT / "tests" in path.parents else SOURCE_LINES_MAX

    report(
        "{}: {} lines, at most {}".format(name_of(path), len(lines_of(path)), limit(path))
        for path in source_files(*SOURCE_SUFFIXES)
        if len(lines_of(path)) > limit(path)
    )


def test_lines_are_short():
    report(
        "{}:{}: {} columns, at most {}".format(name_of(path), number, len(line), COLUMNS_MAX)
        for path in source_files(*SOURCE_SUFFIXES)
        for number, line in enumerate(lines_of(path), start=1)
        if len(line) > COLUMNS_MAX
    )


def functions(tree):
    return (n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)))


def function_lines(node):
    """Lines of a function without its docstring."""
    first = node.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0
    return node.end_lineno - node.lineno + 1 - docstring


def test_functions_are_short():
    report(
        "{}:{}: {} has {} lines, at most {}".format(
            name_of(path), node.lineno, node.name, function_lines(node), FUNCTION_LINES_MAX
        )
        for path, tree in TREES.items()
        for node in functions(tree)
        if function_lines(node) > FUNCTION_LINES_MAX
    )


def test_every_module_begins_with_a_docstring():
    report(
        "{}: no module docstring".format(name_of(path))
        for path, tree in TREES.items()
        if tree.body and not ast.get_docstring(tree)
    )


def base_name(node):
    """ "Trainer" for the bases Trainer, trainer.Trainer and trainer.Trainer[Network]."""
    named = node.value if isinstance(node, ast.Subscript) else node
    return getattr(named, "id", getattr(named, "attr", ""))


INHERITED = {"forward"}  # torch.nn.Module documents it


def public_definitions(node, bases=()):
    """(definition, names of its class's bases) of public functions, classes and methods."""
    for child in node.body:
        if isinstance(child, ast.If):  # a definition that depends on the Python version
            yield from public_definitions(child, bases)
        if not isinstance(child, (ast.FunctionDef, ast.ClassDef)) or child.name.startswith("_"):
            continue
        yield child, bases
        if isinstance(child, ast.ClassDef):
            yield from public_definitions(child, [base_name(base) for base in child.bases])


CLASSES = {
    node.name: node
    for tree in SOURCES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef)
}


def is_documented_above(name, bases):
    """Whether a base class documents the method: the contract stands there, once."""
    if bases and name in INHERITED:
        return True
    for base in (CLASSES[b] for b in bases if b in CLASSES):
        for child in base.body:
            if getattr(child, "name", "") == name and ast.get_docstring(child):
                return True
        above = [base_name(inner) for inner in base.bases]
        if is_documented_above(name, [each for each in above if each != base.name]):
            return True  # (a class may be called as the one of a library that it extends)
    return False


def test_everything_public_is_documented():
    report(
        "{}:{}: {} has no docstring".format(name_of(path), node.lineno, node.name)
        for path, tree in SOURCES.items()
        for node, bases in public_definitions(tree)
        if not ast.get_docstring(node) and not is_documented_above(node.name, bases)
    )


def test_every_public_function_says_what_it_returns():
    report(
        "{}:{}: {} has no return annotation".format(name_of(path), node.lineno, node.name)
        for path, tree in SOURCES.items()
        for node, _ in public_definitions(tree)
        if isinstance(node, ast.FunctionDef) and node.returns is None
    )


def subjects_of(test):
    """What a test file may be the test of; pytest wants names that occur once in tests/."""
    folder = PACKAGE / test.relative_to(ROOT / "tests").parent
    name = test.stem[len("test_") :]
    candidates = [folder / (name + ".py"), folder / name / "__init__.py"]
    if name == folder.name:
        candidates.append(folder / "__init__.py")
    if folder.name == "kernels":  # one operation, one name on every floor
        candidates.append(ROOT / "csrc" / "cpu" / (name + ".cpp"))
    if name.startswith(folder.name + "_"):  # where the plain name is taken
        candidates.append(folder / (name[len(folder.name) + 1 :] + ".py"))
    if name == folder.name + "_command":
        candidates.append(folder / "__main__.py")
    return candidates


def test_tests_mirror_the_package():
    report(
        "{}: tests {}, which does not exist".format(name_of(path), name_of(subjects_of(path)[0]))
        for path in source_files(".py")
        if ROOT / "tests" in path.parents
        and path.name.startswith("test_")
        and path.name not in CROSS_CUTTING_TESTS
        and not any(candidate.exists() for candidate in subjects_of(path))
    )


def test_names_of_test_files_occur_once():
    """pytest imports them by their plain names."""
    places = {}
    for path in source_files(".py"):
        if ROOT / "tests" in path.parents:
            places.setdefault(path.name, []).append(name_of(path))
    report(
        "{}: the name of a test occurs once".format(" and ".join(found))
        for name, found in places.items()
        if len(found) > 1 and name not in ("__init__.py", "conftest.py")
    )


def keyword(call, name):
    return next((ast.dump(k.value) for k in call.keywords if k.arg == name), "")


def runs_code(node):
    """Why a node could run what it reads, or None. pickle may be named to catch its error."""
    if isinstance(node, ast.ImportFrom) and node.module in UNSAFE_MODULES:
        return "from {} import".format(node.module)
    if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in UNSAFE_MODULES:
        return None if node.attr == "UnpicklingError" else ast.dump(node)
    if not isinstance(node, ast.Call):
        return None
    if getattr(node.func, "id", "") in ("eval", "exec"):
        return node.func.id
    if "True" in keyword(node, "allow_pickle"):
        return "allow_pickle=True"
    is_torch = getattr(getattr(node.func, "value", None), "id", "") == "torch"
    if is_torch and called(node) == "load" and "True" not in keyword(node, "weights_only"):
        return "torch.load without weights_only=True"
    return None


def test_nothing_that_is_read_can_run_code():
    report(
        "{}:{}: {}".format(name_of(path), node.lineno, runs_code(node))
        for path, tree in SOURCES.items()
        for node in ast.walk(tree)
        if runs_code(node) and not is_the_restricted_unpickler(path, node)
    )


def is_the_restricted_unpickler(path, node):
    """Whether `node` is the base class of the one unpickler that there is."""
    is_base = isinstance(node, ast.Attribute) and node.attr == "Unpickler"
    return is_base and name_of(path) == RESTRICTED_UNPICKLER


def test_the_public_names_are_those_of_all():
    import edgesdk

    assert len(set(edgesdk.__all__)) == len(edgesdk.__all__)
    assert not [name for name in edgesdk.__all__ if not hasattr(edgesdk, name)]
    imported = {
        alias.asname or alias.name
        for node in TREES[PACKAGE / "__init__.py"].body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(imported | {"__version__"}) == sorted(edgesdk.__all__)


MACHINE_FOLDERS = "|".join(("work", "tmp", "root", "home"))
REGISTRY_HOSTS = "|".join((r"pypi\.", r"files\.pythonhosted\.", r"download\.pytorch\."))
FORBIDDEN_WORDS = re.compile(
    r"(?<![\w.$}}])/({})/|https?://({})".format(MACHINE_FOLDERS, REGISTRY_HOSTS)
)


def test_no_file_names_a_place_of_one_machine():
    report(
        "{}:{}: {}".format(name_of(path), number, line.strip()[:80])
        for path in source_files()
        if path.suffix != ".so"
        for number, line in enumerate(lines_of(path), start=1)
        if FORBIDDEN_WORDS.search(line)
    )
