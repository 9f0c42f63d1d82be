"""Image files in a folder or a tar: read alike, ordered by name, and refused with their name."""

import io
import tarfile

import numpy as np
import pytest
import tiny_images
from PIL import Image

from edgesdk.errors import ConfigError
from edgesdk.train import image_files
from edgesdk.train.image_files import decoded, read_image_files


@pytest.fixture
def folder(tmp_path):
    return tiny_images.write_folder(tmp_path / "animals", tiny_images.files())


def same(first, second):
    return (
        first.class_names == second.class_names
        and np.array_equal(first.train.labels, second.train.labels)
        and np.array_equal(np.stack(first.train.images), np.stack(second.train.images))
        and np.array_equal(np.stack(first.test.images), np.stack(second.test.images))
    )


def test_folders_name_the_classes_and_hold_their_images(folder):
    found = read_image_files(folder)
    assert found.class_names == ("cat", "dog", "emu")
    assert found.train.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert found.test.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert {(image.shape, image.dtype.name) for image in found.train.images} == {
        ((32, 32, 3), "uint8")
    }


def test_pixels_are_what_pillow_decodes_in_the_order_of_the_file_names(folder):
    found = read_image_files(folder)
    for index in (0, 9):
        with Image.open(folder / f"train/dog/{index:04}.jpg") as image:
            assert np.array_equal(found.train.images[10 + index], np.asarray(image))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_a_tar_is_read_as_the_folder_it_was_made_of(folder, tmp_path, mode):
    tar = tiny_images.write_tar(tmp_path / "animals.tar", tiny_images.files(), mode)
    assert same(read_image_files(tar), read_image_files(folder))


@pytest.mark.parametrize("prefix", ["./", "animals/", "./animals/"])
def test_a_tar_may_hold_the_folder_itself_and_its_members_any_order(folder, tmp_path, prefix):
    contents = {prefix + name: content for name, content in tiny_images.files().items()}
    shuffled = dict(sorted(contents.items(), key=lambda item: hash(item[1])))
    assert same(
        read_image_files(tiny_images.write_tar(tmp_path / "t.tar", shuffled)),
        read_image_files(folder),
    )


def test_other_files_and_hidden_ones_are_passed_over(folder):
    extra = {"README.txt": b"", "train/cat/._0000.jpg": b"mac", "train/cat/notes.txt": b"x"}
    extra["train/.thumbs/0000.jpg"] = b"hidden"
    before = read_image_files(folder)
    assert same(read_image_files(tiny_images.write_folder(folder, extra)), before)


def test_images_keep_their_sizes(tmp_path):
    contents = tiny_images.files(train=2, test=1)
    contents["train/cat/0000.jpg"] = tiny_images.encoded(tiny_images.pixels("cat", 0, (40, 64)))
    found = read_image_files(tiny_images.write_folder(tmp_path, contents))
    assert [image.shape[:2] for image in found.train.images[:2]] == [(40, 64), (32, 32)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_common_form_of_a_png_becomes_three_channels(mode):
    buffer = io.BytesIO()
    Image.new(mode, (5, 4)).save(buffer, "PNG")
    assert decoded(buffer.getvalue(), "").shape == (4, 5, 3)


def test_a_png_is_exact():
    image = tiny_images.pixels("cat", 0)
    assert np.array_equal(decoded(tiny_images.encoded(image, "PNG"), ""), image)


def test_nothing_is_unpacked_and_no_link_is_followed(tmp_path, monkeypatch):
    tar = tmp_path / "links.tar"
    tiny_images.write_tar(tar, tiny_images.files(), "w")
    with tarfile.open(tar, "a") as archive:
        link = tarfile.TarInfo("train/cat/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    monkeypatch.chdir(tmp_path)
    assert len(read_image_files(tar).train.images) == 30
    assert [path.name for path in tmp_path.iterdir()] == ["links.tar"]


def without(prefix):
    return {n: c for n, c in tiny_images.files().items() if not n.startswith(prefix)}


def with_file(name, content):
    return {**tiny_images.files(), name: content}


def png16():
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


GOOD = tiny_images.encoded(tiny_images.pixels("cat", 0))
BAD_CONTENTS = {
    "an empty tree": ({}, "found no images in train/"),
    "no test split": (without("test/"), "found no images in test/; expected train/CLASS"),
    "no train split": (without("train/"), "found no images in train/"),
    "a class missing in test": (without("test/emu"), "only in train/: emu, only in test/: none"),
    "a class missing in train": (without("train/emu"), "only in train/: none, only in test/: emu"),
    "a misspelt class": (
        {n.replace("test/emu", "test/Emu"): c for n, c in tiny_images.files().items()},
        "only in train/: emu, only in test/: Emu; expected the same classes in both",
    ),
    "a single class": (tiny_images.files(("cat",)), "the single class cat, expected at least 2"),
    "a class of one image": (
        {n: c for n, c in tiny_images.files().items() if n[:9] != "train/emu" or "0000" in n},
        "found 1 images in train/emu, expected at least 2",
    ),
    "a truncated image": (with_file("train/cat/bad.jpg", GOOD[:300]), "train/cat/bad.jpg: cannot"),
    "an empty image": (with_file("train/cat/0003.jpg", b""), "train/cat/0003.jpg: cannot be dec"),
    "a text as image": (with_file("test/dog/x.png", b"hello"), "test/dog/x.png: cannot be decoded"),
    "another format": (
        with_file("test/dog/x.jpg", tiny_images.encoded(tiny_images.pixels("dog", 0), "GIF")),
        "test/dog/x.jpg: cannot be decoded .* expected a whole JPEG or PNG",
    ),
    "16 bits per channel": (with_file("train/cat/deep.png", png16()), "mode I;16.* 8 bits"),
    "an image without a class": (with_file("train/lost.jpg", GOOD), "found the image train/lost"),
    "a class below a class": (
        with_file("train/cat/small/a/x.jpg", GOOD),
        "found the image train/cat/small/a/x.jpg; expected train/CLASS",
    ),
}


@pytest.mark.parametrize("how", ["folder", "tar"])
@pytest.mark.parametrize("case", BAD_CONTENTS)
def test_what_is_wrong_is_named(tmp_path, case, how):
    contents, message = BAD_CONTENTS[case]
    path = tmp_path / "images"
    if how == "tar":
        tiny_images.write_tar(path, contents)
    else:
        path.mkdir()
        tiny_images.write_folder(path, contents)
    with pytest.raises(ConfigError, match=message) as raised:
        read_image_files(path)
    assert str(path) in str(raised.value)


def test_a_class_folder_without_images_is_not_overlooked(folder):
    for split in ("train", "test"):
        (folder / split / "fox").mkdir()
    with pytest.raises(ConfigError, match="found 0 images in train/fox"):
        read_image_files(folder)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_a_truncated_tar_is_refused(tmp_path, mode, keep):
    tar = tiny_images.write_tar(tmp_path / "cut.tar", tiny_images.files(), mode)
    content = tar.read_bytes()
    if mode == "w":
        content = content.rstrip(b"\0")  # the end of a plain tar is zeros
    tar.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ConfigError, match=r"cut.tar: .*cannot be (read as a tar|decoded)"):
        read_image_files(tar)


def test_a_damaged_tar_is_refused(tmp_path):
    tar = tiny_images.write_tar(tmp_path / "bad.tar.xz", tiny_images.files())
    content = bytearray(tar.read_bytes())
    content[len(content) // 2] ^= 0xFF
    tar.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as a tar"):
        read_image_files(tar)


def test_a_file_that_is_no_tar_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(GOOD)
    with pytest.raises(ConfigError, match=r"expected a whole tar, tar.gz or tar.xz"):
        read_image_files(tmp_path / "photo.jpg")


@pytest.mark.parametrize("how", ["folder", "tar"])
def test_a_file_beyond_the_limit_is_not_even_read(tmp_path, monkeypatch, how):
    monkeypatch.setattr(image_files, "FILE_BYTES_MAX", 500)
    write = tiny_images.write_tar if how == "tar" else tiny_images.write_folder
    with pytest.raises(ConfigError, match=r"0000.jpg: found .* bytes, expected at most 500"):
        read_image_files(write(tmp_path / "images", tiny_images.files()))


def test_more_pixels_than_memory_should_hold_are_refused(folder, monkeypatch):
    monkeypatch.setattr(image_files, "PIXEL_BYTES_MAX", 10 * 32 * 32 * 3)
    with pytest.raises(ConfigError, match="more than 30720 bytes of decoded pixels"):
        read_image_files(folder)


def test_an_image_that_would_unfold_to_gigabytes_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ConfigError, match=r"bomb.png: cannot be decoded .*decompression bomb"):
        decoded(tiny_images.encoded(np.zeros((11, 10, 3), np.uint8), "PNG"), "bomb.png")


def test_an_unreadable_file_is_named(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(folder), "read_bytes", refuse)
    with pytest.raises(ConfigError, match=r"0000\.jpg: cannot be read \(Permission denied"):
        read_image_files(folder)
