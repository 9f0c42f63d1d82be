"""Other policies, plans and codecs for a bundle that is there, while programs may be reading it.

New files are put beside the old ones, where no manifest names them yet; then the manifest is
replaced in one step. Whoever is killed on the way leaves the old bundle, and at most files that
nothing reads.
"""

import contextlib
import json
import os
from typing import Any, Dict, Mapping, Optional, Set

from .bundle import MANIFEST, Bundle, read_bundle
from .errors import BundleError, EdgeError
from .files import write_atomically
from .manifest import parse_manifest, sha256


def update_bundle(
    path: str,
    policies: Mapping[str, Optional[Mapping[str, Any]]],
    plans: Mapping[str, Optional[Mapping[str, Any]]],
    files: Mapping[str, bytes],
    default_policy: Optional[str] = None,
    codecs: Optional[Mapping[str, Any]] = None,
) -> Bundle:
    """Give the bundle at `path` other policies and plans, and return it as read back.

    `policies` and `plans` are as in the manifest, by name; None takes one away. `files` holds what
    the new plans need; files that only replaced plans used are deleted. `codecs` is the whole new
    table, if it is given. What the network computes, its model_id, stays. The manifest is replaced
    in one step at the end: until then, and if anything fails, the bundle is what it was. Raises
    BundleError if the result would not read, if a file that is there would change, or if the bundle
    cannot be written.
    """
    bundle = read_bundle(path)
    document = _updated(bundle.manifest.document, policies, plans, default_policy)
    if codecs is not None:
        document["codecs"] = _plain(codecs)
    _update_files(document, bundle.manifest.document, files)
    try:
        parse_manifest(document)
    except BundleError as error:
        raise BundleError("{}: {}; nothing was changed".format(bundle.path, error)) from None
    known = bundle.manifest.document["files"]
    added = [name for name in files if name in document["files"] and name not in known]
    try:
        for name in added:
            write_atomically(bundle.file(name), files[name])
        text = json.dumps(document, indent=1) + "\n"
        write_atomically(bundle.file(MANIFEST), text.encode("utf-8"))
    except EdgeError as error:
        for name in added:
            _remove(bundle.file(name))
        raise BundleError(
            "{}: could not be updated ({}); it is as it was".format(bundle.path, error)
        ) from None
    for name in known:
        if name not in document["files"]:
            _remove(bundle.file(name))
    return read_bundle(path)


def _updated(
    document: Mapping[str, Any],
    policies: Mapping[str, Optional[Mapping[str, Any]]],
    plans: Mapping[str, Optional[Mapping[str, Any]]],
    default_policy: Optional[str],
) -> Dict[str, Any]:
    """A copy of `document` with entries replaced, added or, where they are None, taken away."""
    copy, policies, plans = _plain([document, policies, plans])
    for target, changes in ((copy["policies"], policies), (copy["parts"][0]["plans"], plans)):
        target.update(changes)
        for name in [name for name in changes if changes[name] is None]:
            del target[name]
    if default_policy is not None:
        copy["default_policy"] = default_policy
    result: Dict[str, Any] = copy
    return result


def _plain(value: Any) -> Any:
    """A copy of `value` as JSON gives it back."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise BundleError("manifest: {}; expected plain Python values".format(error)) from None


def _update_files(
    document: Dict[str, Any], before: Mapping[str, Any], files: Mapping[str, bytes]
) -> None:
    """List in `document` the new `files` that its plans use, and no more those they ceased to."""
    stages_before, stages = _stage_files(before), _stage_files(document)
    listed = document["files"]
    for name in stages_before - stages:
        del listed[name]
    for name in sorted(stages & set(files)):
        entry = {"bytes": len(files[name]), "sha256": sha256(files[name])}
        if listed.setdefault(name, entry) != entry:
            raise BundleError(
                "{}: the bundle holds this file with other contents; files of a bundle never "
                "change, so choose another name".format(name)
            )


def _stage_files(document: Mapping[str, Any]) -> Set[str]:
    plans = document["parts"][0]["plans"].values()
    return {stage["file"] for plan in plans for stage in plan["stages"]}


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.remove(path)
