"""CIFAR-10's own files: read as any other images, without running what a pickle asks for."""

import os
import pickle

import numpy as np
import pytest
import tiny_images

from edgesdk.errors import ConfigError
from edgesdk.train.cifar_batches import is_batches, read_batches

META = "cifar-10-batches-py/batches.meta"
FIRST = "cifar-10-batches-py/data_batch_1"


@pytest.fixture(params=["folder", "folder around it", "tar.gz"])
def path(request, tmp_path):
    if request.param == "tar.gz":
        return tiny_images.write_tar(tmp_path / "c.tar.gz", tiny_images.batches(), "w:gz")
    root = tiny_images.write_folder(tmp_path, tiny_images.batches())
    return root / "cifar-10-batches-py" if request.param == "folder" else root


def written(tmp_path, changes):
    contents = {**tiny_images.batches(), **changes}
    kept = {name: content for name, content in contents.items() if content is not None}
    return tiny_images.write_folder(tmp_path, kept)


def test_all_six_files_are_found_in_every_packing(path):
    assert is_batches(path)
    found = read_batches(path)
    assert found.class_names == ("cat", "dog", "emu")
    assert (len(found.train.images), len(found.test.images)) == (100, 9)
    assert np.bincount(found.train.labels).tolist() == [35, 35, 30]


def test_planes_become_pixels_ordered_by_class_and_file_name(path):
    found = read_batches(path)
    assert np.array_equal(found.train.images[0], tiny_images.pixels("cat", 100))
    assert np.array_equal(found.train.images[1], tiny_images.pixels("cat", 103))
    assert np.array_equal(found.test.images[-1], tiny_images.pixels("emu", 908))
    assert found.train.images[0].dtype == np.uint8


def test_an_image_tree_is_not_mistaken_for_batches(tmp_path):
    tree = tiny_images.write_folder(tmp_path / "tree", tiny_images.files())
    tar = tiny_images.write_tar(tmp_path / "tree.tar.xz", tiny_images.files())
    assert not is_batches(tree)
    assert not is_batches(tar)


class Runs:
    """Pickled as a call, as an attacker would."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "attack",
    [
        lambda marker: Runs(os.mkdir, str(marker)),
        lambda marker: Runs(eval, f"__import__('os').mkdir({str(marker)!r})"),
        lambda marker: {b"data": Runs(os.mkdir, str(marker))},
        lambda marker: Runs(np.save, str(marker), [1]),
        lambda marker: Runs(np.frombuffer, str(marker).encode(), "u1"),
        lambda marker: Runs(getattr, {}, "clear"),
    ],
)
def test_a_pickle_that_asks_for_a_call_runs_nothing(tmp_path, attack):
    marker = tmp_path / "marker"
    content = pickle.dumps(attack(marker), 2)
    with pytest.raises(ConfigError, match=r"data_batch_1: cannot be read \(it asks for "):
        read_batches(written(tmp_path / "c", {FIRST: content}))
    assert not marker.exists()
    assert not marker.with_suffix(".npy").exists()


def one(**changes):
    return tiny_images.python2_pickle(tiny_images.batch(**changes))


BAD_FILES = {
    "a missing batch": ({FIRST: None}, "found no data_batch_1; expected data_batch_1, "),
    "missing names": ({META: None}, "found no batches.meta"),
    "an empty file": ({FIRST: b""}, "data_batch_1: cannot be read"),
    "a truncated file": ({FIRST: one()[:5000]}, "data_batch_1: cannot be read"),
    "no pickle": ({FIRST: b"\x89PNG"}, "data_batch_1: cannot be read"),
    "no dict": ({FIRST: tiny_images.python2_pickle([1])}, "found a list, expected a dict"),
    "CIFAR-100": (
        {FIRST: tiny_images.python2_pickle({b"fine_labels": [0], b"data": 1})},
        "found fine_labels, data; expected data, labels and filenames; unpack or download",
    ),
    "float data": ({FIRST: one(data=np.zeros((20, 3072), np.float32))}, "expected uint8"),
    "object data": ({FIRST: one(data=np.array([{}] * 20, object))}, "data of another form"),
    "narrow data": ({FIRST: one(data=np.zeros((20, 3000), np.uint8))}, "expected uint8 .n, 3072"),
    "transposed data": (
        {FIRST: one(data=np.zeros((3072, 20), np.uint8))},
        "data of another form",
    ),
    "Fortran order": (
        {FIRST: one(data=np.asfortranarray(np.ones((20, 3072), np.uint8)))},
        "data of another form",
    ),
    "fewer labels than images": (
        {FIRST: one(labels=[0, 1])},
        "found 20 images, 2 labels and 20 file names; expected as many of each",
    ),
    "a label out of range": ({FIRST: one(labels=[3] * 20)}, "found the label 3 .* expected 0..2"),
    "a negative label": ({FIRST: one(labels=[-1] * 20)}, "found the label -1"),
    "labels that are texts": ({FIRST: one(labels=[b"cat"] * 20)}, "found the label b'cat'"),
    "labels as an array": ({FIRST: one(labels=np.zeros(20, np.uint8))}, "found batch_label"),
    "names that are numbers": ({FIRST: one(filenames=[7] * 20)}, "found the label 0 of 7"),
    "no label names": ({META: tiny_images.python2_pickle({})}, "found no list label_names"),
    "a class without images": (
        {META: tiny_images.python2_pickle({b"label_names": [b"cat", b"dog", b"emu", b"fox"]})},
        "found 0 images in train/fox, expected at least 2",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_of_another_form_is_named(tmp_path, case):
    changes, message = BAD_FILES[case]
    with pytest.raises(ConfigError, match=message):
        read_batches(written(tmp_path, changes))


def test_a_truncated_archive_is_refused(tmp_path):
    tar = tiny_images.write_tar(tmp_path / "c.tar.gz", tiny_images.batches(), "w:gz")
    tar.write_bytes(tar.read_bytes()[:-2000])
    with pytest.raises(ConfigError, match=r"c\.tar\.gz: cannot be read as a tar"):
        read_batches(tar)
