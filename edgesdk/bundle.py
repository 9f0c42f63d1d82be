"""Bundles: a network on disk, ready to run.

A bundle is read whole or not at all: every file's sha256 is checked before anything is used, and
writing goes to a temporary folder that is renamed at the end.
"""

import glob
import json
import os
import shutil
import tempfile
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from .errors import BundleError, ConfigError
from .files import replace_folder
from .manifest import Manifest, complete_manifest, parse_manifest, sha256

MANIFEST = "manifest.json"
MANIFEST_BYTES_MAX = 16 * 1024 * 1024  # a manifest of a thousand stages has well under one


class Head(NamedTuple):
    """Parameters of a fused exit head, as `kernels.exit_head` takes them: float32
    weight[N,C], bias[N], and the folded batch norm scale[C], shift[C] or None."""

    weight: np.ndarray
    bias: np.ndarray
    scale: Optional[np.ndarray]
    shift: Optional[np.ndarray]


class FeatureHead(NamedTuple):
    """Parameters of an ensemble's exit, as `kernels.exit_feature` takes them: float32
    projection[D,C], and the folded batch norm scale[C], shift[C] or None."""

    projection: np.ndarray
    scale: Optional[np.ndarray]
    shift: Optional[np.ndarray]


class EnsembleClassifier(NamedTuple):
    """One answer of P features of D values: float32 weight[N,P*D], bias[N], and missing[P,D], the
    mean feature of each part in training, in place of one that is not there."""

    weight: np.ndarray
    bias: np.ndarray
    missing: np.ndarray

    def alone(self, part: int) -> Tuple[np.ndarray, np.ndarray]:
        """Weight [N,D] and bias [N] of what it makes of one part's feature, were all others
        missing: the one view of the classes that a part has by itself."""
        means = self.missing.copy()
        means[part] = 0
        size = self.missing.shape[1]
        own = self.weight[:, part * size : (part + 1) * size]
        return np.ascontiguousarray(own), self.weight @ means.ravel() + self.bias


class Bundle(NamedTuple):
    """A bundle whose manifest and files have been verified."""

    path: str
    manifest: Manifest

    def file(self, relative: str) -> str:
        """Path of one of the bundle's files."""
        return os.path.join(self.path, *relative.split("/"))

    def head(self, part: int, exit_index: int) -> Head:
        """The parameters of a fused head. Raises BundleError if they do not fit the segment."""
        spec = self.manifest.parts[part]
        classes, channels = len(self.manifest.labels), spec.segments[exit_index].output_shape[0]
        arrays = self._arrays(
            spec.exits[exit_index].file,
            {"weight": (classes, channels), "bias": (classes,)},
            {"scale": (channels,), "shift": (channels,)},
        )
        return Head(arrays["weight"], arrays["bias"], arrays.get("scale"), arrays.get("shift"))

    def feature_head(self, part: int, exit_index: int) -> FeatureHead:
        """The parameters of an ensemble's exit. Raises BundleError if they do not fit."""
        spec, classifier = self.manifest.parts[part], self.manifest.classifier
        assert classifier is not None  # the manifest was checked: only ensembles have such exits
        channels = spec.segments[exit_index].output_shape[0]
        arrays = self._arrays(
            spec.exits[exit_index].file,
            {"projection": (classifier.feature_size, channels)},
            {"scale": (channels,), "shift": (channels,)},
        )
        return FeatureHead(arrays["projection"], arrays.get("scale"), arrays.get("shift"))

    def classifier(self) -> EnsembleClassifier:
        """What makes one answer of an ensemble's features. Raises BundleError if it does not
        fit."""
        spec, part_count = self.manifest.classifier, len(self.manifest.parts)
        assert spec is not None
        classes, size = len(self.manifest.labels), spec.feature_size
        shapes = {
            "weight": (classes, part_count * size),
            "bias": (classes,),
            "missing": (part_count, size),
        }
        return EnsembleClassifier(**self._arrays(spec.file, shapes, {}))

    def _arrays(
        self,
        relative: str,
        needed: Mapping[str, Tuple[int, ...]],
        optional: Mapping[str, Tuple[int, ...]],
    ) -> Dict[str, np.ndarray]:
        """Those arrays of an .npz, float32 of these shapes."""
        try:
            with np.load(self.file(relative), allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
            arrays = {name: found[name] for name in needed}
        except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds
            raise BundleError(
                "{}: {}: expected an .npz with {} ({})".format(
                    self.path, relative, " and ".join(needed), error
                )
            ) from None
        arrays.update({name: found[name] for name in optional if name in found})
        for name, shape in list(needed.items()) + list(optional.items()):
            array = arrays.get(name)
            if array is not None and (array.shape != shape or array.dtype != np.float32):
                raise BundleError(
                    "{}: {}: {} is {} {}, expected float32 {}".format(
                        self.path, relative, name, array.dtype, list(array.shape), list(shape)
                    )
                )
        return arrays


def read_bundle(path: str) -> Bundle:
    """Read and verify the bundle in folder `path`.

    Raises BundleError, naming the file or the place in the manifest, if anything is missing,
    changed or malformed.
    """
    path = os.path.abspath(os.fspath(path))
    document = _read_document(path)
    try:
        bundle = Bundle(path, parse_manifest(document))
        _check_contents(bundle)
    except BundleError as error:
        raise BundleError("{}: {}".format(os.path.join(path, MANIFEST), error)) from None
    return bundle


def read_plain_bundle(path: str) -> Bundle:
    """`read_bundle` for what knows networks of one part only. Raises ConfigError for an
    ensemble."""
    bundle = read_bundle(path)
    count = len(bundle.manifest.parts)
    if bundle.manifest.classifier is not None:
        raise ConfigError(
            "{}: found an ensemble of {}, expected a plain network; ensembles are run by "
            "edgesdk.Pipeline".format(bundle.path, count)
        )
    return bundle


def write_bundle(
    path: str, manifest: Mapping[str, Any], files: Mapping[str, bytes], overwrite: bool = False
) -> Bundle:
    """Write a bundle to the new folder `path` and return it as read back.

    `manifest` lacks what is derived: format, format_version, files, model_id. `files` maps
    relative paths to contents. Nothing appears at `path` unless all of it is good. Raises
    BundleError if `path` exists (without `overwrite`), cannot be written, or would not read.
    """
    path = os.path.abspath(os.fspath(path))
    _check_free(path, overwrite)
    document = complete_manifest(manifest, files)
    parse_manifest(document)
    temporary = None
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=".writing-", dir=os.path.dirname(path))
        os.chmod(temporary, 0o755)  # mkdtemp's 0700 is for secrets
        _write_files(temporary, document, files)
        read_bundle(temporary)
        replace_folder(temporary, path)
    except OSError as error:
        raise BundleError("{}: could not be written: {}".format(path, error)) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return read_bundle(path)


def _check_free(path: str, overwrite: bool) -> None:
    """Only a bundle may be overwritten: a mistyped path must not cost somebody's folder."""
    if os.path.lexists(path) and not overwrite:
        raise BundleError(
            "{} exists; choose the next version number, or overwrite it (--force)".format(path)
        )
    if os.path.lexists(path) and not os.path.exists(os.path.join(path, MANIFEST)):
        raise BundleError(
            "{} exists and is not a bundle: it holds no {}; choose another path".format(
                path, MANIFEST
            )
        )


def _read_document(path: str) -> Dict[str, Any]:
    manifest = os.path.join(path, MANIFEST)
    try:
        if os.path.getsize(manifest) > MANIFEST_BYTES_MAX:
            raise BundleError(
                "{}: larger than {} bytes; expected a manifest".format(manifest, MANIFEST_BYTES_MAX)
            )
        with open(manifest, encoding="utf-8") as file:
            document = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(_explain_missing(path)) from None
    except OSError as error:
        raise BundleError("{}: cannot be read: {}".format(manifest, error)) from None
    except (ValueError, RecursionError) as error:
        raise BundleError(
            "{}: not JSON ({}); copy or export the bundle again".format(manifest, error)
        ) from None
    if not isinstance(document, dict):
        raise BundleError(
            "{}: found a JSON {}, expected an object".format(manifest, type(document).__name__)
        )
    return document


def _explain_missing(path: str) -> str:
    if not os.path.isdir(path):
        return "{}: no such folder; expected a bundle such as engines/NAME/VERSION".format(path)
    inside = [
        os.path.basename(os.path.dirname(found))
        for found in glob.glob(os.path.join(glob.escape(path), "*", MANIFEST))
    ]
    inside.sort(key=lambda name: (len(name), name))  # 10 comes after 9
    if inside:
        return "{}: holds versions {}; expected one of them, such as {}".format(
            path, ", ".join(inside), os.path.join(path, inside[-1])
        )
    return "{}: holds no {}; expected a bundle such as engines/NAME/VERSION".format(path, MANIFEST)


def _check_contents(bundle: Bundle) -> None:
    for relative, entry in bundle.manifest.document["files"].items():
        path = bundle.file(relative)
        try:
            found = "{} bytes".format(os.path.getsize(path))
            expected = "{} bytes".format(entry["bytes"])
            if found == expected:
                with open(path, "rb") as file:
                    found, expected = "sha256 " + sha256(file.read()), "sha256 " + entry["sha256"]
        except OSError as error:
            raise BundleError(
                "{}: the file cannot be read ({}); copy the bundle again".format(
                    relative, error.strerror
                )
            ) from None
        if found != expected:
            raise BundleError(
                "{}: the file has changed: found {}, expected {}; copy or export the bundle "
                "again".format(relative, found, expected)
            )


def _write_files(folder: str, manifest: Dict[str, Any], files: Mapping[str, bytes]) -> None:
    for relative in files:
        target = os.path.join(folder, *relative.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(files[relative])
    with open(os.path.join(folder, MANIFEST), "w", encoding="utf-8") as text:
        json.dump(manifest, text, indent=1)
        text.write("\n")
