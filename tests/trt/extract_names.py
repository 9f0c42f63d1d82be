"""Reads the names of TensorRT's Python API off the real bindings, and writes names.json.gz.

    pip download --no-deps -d wheels tensorrt-bindings==8.6.1          # for the running Python
    pip download --no-deps -d wheels tensorrt-cu12-bindings==10.3.0
    pip download --no-deps -d wheels tensorrt-cu12-bindings==10.16.1.11
    pip download --no-deps -d wheels tensorrt-cu13-bindings==11.4.0.106
    pip download --no-deps -d wheels --only-binary=:all: --python-version 3.6 --abi cp36m \\
        --platform manylinux_2_17_x86_64 nvidia-tensorrt==8.4.1.5      # 774 MB
    python tests/trt/extract_names.py wheels

Needs no GPU: the libraries behind the bindings are replaced by empty ones, which suffices for an
import. It needs gcc, nm and readelf, and the Python of each wheel on PATH. What no wheel exists
for is derived, in `trt_derived.py`. With EDGESDK_TENSORRT_WHEELS=wheels the tests compare the file,
and what the doubles answer, with the bindings.
"""

import argparse
import contextlib
import glob
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

import trt_derived
import trt_names

# What the bindings want from their libraries; symbols of C++ itself must stay unresolved.
_STUBBED = re.compile(
    r"(createInfer|createNvOnnx|getPluginRegistry|getBuilderPluginRegistry|getNvOnnx"
    r"|initLibNvInfer|_ZN11nvuffparser|_ZN14nvcaffeparser)"
)
_FIND_PYTHON36 = os.path.join(os.path.dirname(__file__), "..", "..", ".ci", "find-python36")
_MODULES = re.compile(
    r"\b((tensorrt_bindings|tensorrt|typing|typing_extensions|collections|abc|numpy)\.)+"
)
_SYNONYMS = (
    ("SupportsInt", "int"),
    ("SupportsFloat", "float"),
    ("Buffer", "buffer"),
    ("CapsuleType", "capsule"),
)
_DUNDERS = ("__init__", "__len__", "__getitem__", "__bool__")


def arguments(docstring):
    """The overloads in a pybind docstring, as lists of "name:type"; "=" ends what is optional."""
    lines = (docstring or "").splitlines()
    heads = [re.sub(r"^\d+\. ", "", line) for line in lines if re.match(r"\d+\. \w+\(", line)]
    if not heads and lines:
        heads = [line for line in lines[:2] if "(" in line][:1]
    return [_arguments_of(head) for head in heads]


def _arguments_of(head):
    """ "f(self: A, x: int = 0) -> B" as ["x:int="]; what is not named is arg0, arg1, ..."""
    found, depth, start = [], 0, head.index("(") + 1
    for place in range(start, len(head)):
        character = head[place]
        if depth == 0 and character in ",)":
            found.append(head[start:place].strip())
            start = place + 1
            if character == ")":
                break
        depth += (character in "([<{") - (character in ")]>}")
    return [_argument(text) for text in found if text and not text.startswith("self:")]


def _argument(text):
    name, _, rest = text.partition(":")
    kind, equals, _ = rest.partition("=")
    return "{}:{}{}".format(name, _kind(kind), "=" if equals else "")


def _kind(text):
    """The type as one short word, the same for all versions of pybind."""
    text = re.sub(r"\s*\|\s*typing\.SupportsIndex", "", text.strip())
    text = _MODULES.sub("", text)
    for old, new in _SYNONYMS:
        text = re.sub(r"\b{}\b".format(old), new, text)
    text = re.sub(r"\bSequence\[", "List[", text)
    return re.sub(r"::|\s", "", text)


def _class_table(owner, known):
    table = {"bases": [base.__name__ for base in owner.__bases__ if base in known]}
    methods, properties = {}, {}
    for name, value in sorted(vars(owner).items()):
        if isinstance(value, property):
            setter = arguments(value.fset.__doc__) if value.fset else []
            properties[name] = setter[0][-1].split(":")[1] if setter and setter[0] else None
            if value.fset and properties[name] is None:
                properties[name] = "object"  # settable; the type is not told
        elif _is_method(owner, name):
            methods[name] = arguments(getattr(owner, name).__doc__)
    table.update(methods=methods, properties=properties)
    return table


def _is_method(owner, name):
    value = getattr(owner, name)
    if name == "__init__":  # a class that cannot be made from Python has object's
        return (value.__doc__ or "").startswith("__init__(")
    return callable(value) and not isinstance(value, type) and (name in _DUNDERS or name[0] != "_")


def _is_enum(value):
    return isinstance(value, type) and isinstance(getattr(value, "__members__", None), dict)


def names_of(package):
    """The table of an imported binding; see `trt_names.table`."""
    classes = {k: v for k, v in vars(package).items() if isinstance(v, type) and not _is_enum(v)}
    enums = {k: v for k, v in vars(package).items() if _is_enum(v)}
    for owner, value in sorted(classes.items()):
        for name, inner in vars(value).items():
            if _is_enum(inner) and owner != "Logger":  # Logger's is ILogger's
                enums["{}.{}".format(owner, name)] = inner
    places = {value: name for name, value in enums.items()}
    constants, functions = {}, {}
    for name, value in vars(package).items():
        if type(value) in places and name != "value":  # left over from a loop of the package's
            constants[name] = "{}.{}".format(places[type(value)], value.name)
        elif inspect.isbuiltin(value):
            functions[name] = arguments(value.__doc__)
        elif name in ("volume", "nptype"):
            functions[name] = [[a + ":object" for a in inspect.signature(value).parameters]]
    known = set(classes.values())
    return {
        "classes": {name: _class_table(value, known) for name, value in classes.items()},
        "enums": {k: {n: int(m) for n, m in v.__members__.items()} for k, v in enums.items()},
        "functions": functions,
        "constants": constants,
    }


def _make_stubs(library, folder):
    """Libraries in `folder` that satisfy what `library` needs, all of whose functions give null."""
    nm = subprocess.check_output(["nm", "-D", "--undefined-only", library]).decode()
    symbols = {line.split()[-1].split("@")[0] for line in nm.splitlines()}
    source = os.path.join(folder, "stub.c")
    with open(source, "w") as file:
        for symbol in sorted(filter(_STUBBED.match, symbols)):
            file.write("void*{}(void){{return 0;}}\n".format(symbol))
    needed = subprocess.check_output(["readelf", "-d", library]).decode()
    for name in re.findall(r"NEEDED.*\[(libnv[^]]*)\]", needed):
        target = os.path.join(folder, name)
        subprocess.check_call(
            ["gcc", "-shared", "-fPIC", "-w", "-o", target, "-Wl,-soname," + name, source]
        )


def _python_for(wheel):
    """The interpreter of a wheel's tag: python3.11 for cp311."""
    tag = re.search(r"-cp3(\d+)-", os.path.basename(wheel)).group(1)
    if sys.version_info[:2] == (3, int(tag)):
        return sys.executable
    found = shutil.which("python3." + tag)
    if tag == "6":
        found = subprocess.check_output([_FIND_PYTHON36]).decode().strip()
    if not found:
        raise SystemExit("{}: no python3.{} on PATH".format(wheel, tag))
    return found


def ask_wheel(wheel, script, *options):
    """What a script, given `options` and the wheel's package, prints where that can be imported."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if re.match(r"[^/]*/(__init__\.py|tensorrt\.so|plugin/.*\.py)$", name):
                    archive.extract(name, folder)
        (library,) = glob.glob(os.path.join(folder, "*", "tensorrt.so"))
        _make_stubs(library, folder)
        environment = dict(os.environ, LD_LIBRARY_PATH=folder, PYTHONPATH=folder)
        package = os.path.basename(os.path.dirname(library))
        command = [_python_for(wheel), os.path.abspath(script)] + list(options) + [package]
        return json.loads(subprocess.check_output(command, env=environment).decode())


def read_wheel(wheel):
    """(version, table) of one wheel."""
    version, table = ask_wheel(wheel, __file__, "--inside")
    table["origin"] = "bindings " + version
    return version, table


def read_folder(folder):
    """All tables: those of the wheels in `folder`, and those derived from them."""
    wheels = sorted(glob.glob(os.path.join(folder, "*.whl")))
    tables = dict(read_wheel(wheel) for wheel in wheels)
    trt_derived.add(tables)
    return tables


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="where the wheels are; or with --inside a package")
    parser.add_argument("--inside", action="store_true", help="print the table of an import")
    options = parser.parse_args()
    if options.inside:
        with contextlib.redirect_stdout(sys.stderr):
            package = importlib.import_module(options.folder)
            answer = [package.__version__, names_of(package)]
        print(json.dumps(answer))
        return
    size = trt_names.write(read_folder(options.folder))
    print("{}: {} bytes".format(trt_names.FILE, size))


if __name__ == "__main__":
    main()
