"""Key files: NAME.public and NAME.secret, each one line with a CURVE key in Z85.

Who holds NAME.secret is NAME. Public keys may be seen by everybody; what they must be is the right
ones, for they say who is let in.
"""

import os
import stat
from typing import Union

from .errors import ConfigError
from .files import PRIVATE_MODE, write_atomically

PUBLIC, SECRET = ".public", ".secret"
KEY_LENGTH = 40  # 32 bytes as Z85 writes them: four bytes in five characters
Z85_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_OTHERS = 0o077  # what group and others may do
_FILE_BYTES_MAX = 1000  # more is no key file

Folder = Union[str, "os.PathLike[str]"]


def public_path(folder: Folder, name: str) -> str:
    """Where the public key of `name` is kept."""
    return os.path.join(os.fspath(folder), name + PUBLIC)


def secret_path(folder: Folder, name: str) -> str:
    """Where the secret key of `name` is kept."""
    return os.path.join(os.fspath(folder), name + SECRET)


def has_public(folder: Folder, name: str) -> bool:
    """Whether there is a file for the public key of `name`."""
    return os.path.lexists(public_path(folder, name))


def has_secret(folder: Folder, name: str) -> bool:
    """Whether there is a file for the secret key of `name`."""
    return os.path.lexists(secret_path(folder, name))


def write_pair(
    folder: Folder, name: str, public: str, secret: str, overwrite: bool = False
) -> None:
    """Write both keys of `name`, each file whole or not at all, the secret first.

    Raises ConfigError if one of the files is there and `overwrite` is not given, or if a key is
    none; EdgeError if the file system refuses.
    """
    paths = secret_path(folder, name), public_path(folder, name)
    for path, key in zip(paths, (secret, public)):
        _check_key(path, key)
        if os.path.lexists(path) and not overwrite:
            raise ConfigError(
                "{}: found a key, expected none; a new one makes {} a stranger to all who know the "
                "old: `python -m edgesdk.keys CLUSTER.toml --renew {}` if you mean it".format(
                    path, name, name
                )
            )
    write_atomically(paths[0], _line(secret), private=True)
    write_public(folder, name, public)


def write_public(folder: Folder, name: str, public: str) -> None:
    """Write the public key of `name`, over what is there. Raises ConfigError, EdgeError."""
    path = public_path(folder, name)
    _check_key(path, public)
    write_atomically(path, _line(public))


def read_public(folder: Folder, name: str) -> str:
    """The public key of `name`: 40 characters of Z85. Raises ConfigError."""
    return _read(
        public_path(folder, name),
        "`python -m edgesdk.keys CLUSTER.toml {name}` makes a pair of keys; if there is one, copy "
        "{name}.public from where it was made".format(name=name),
    )


def read_secret(folder: Folder, name: str) -> str:
    """The secret key of `name`: 40 characters of Z85.

    Raises ConfigError, also if others than the owner can read the file. No message shows the key.
    """
    return _read(
        secret_path(folder, name),
        "`python -m edgesdk.keys CLUSTER.toml {name}` makes a pair of keys; if there is one, copy "
        "{name}.secret from where it was made".format(name=name),
        is_secret=True,
    )


def _read(path: str, what_to_do: str, is_secret: bool = False) -> str:
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(
            "{}: cannot be read ({}); {}".format(path, error.strerror or error, what_to_do)
        ) from None
    if is_secret and mode & _OTHERS:
        raise ConfigError(
            "{path}: found mode {:04o}, expected {:04o}, for whoever reads it can pass for its "
            "owner; `chmod {:o} {path}`, or renew it if somebody may have".format(
                mode, PRIVATE_MODE, PRIVATE_MODE, path=path
            )
        )
    key = content.decode("ascii", "replace").rstrip("\r\n")
    _check_key(path, key)
    return key


def _line(key: str) -> bytes:
    return key.encode("ascii") + b"\n"


def _check_key(path: str, key: str) -> None:
    """Raise ConfigError, which never shows what may be a secret."""
    if len(key) != KEY_LENGTH:
        found = "{} characters".format(len(key))
    elif not set(key) <= set(Z85_DIGITS):
        found = "characters that Z85 has not"
    elif not all(_fits(key[start : start + 5]) for start in range(0, KEY_LENGTH, 5)):
        found = "a number too large for 32 bytes"
    else:
        return
    raise ConfigError(
        "{}: found {}, expected a CURVE key: {} characters of Z85 in one line; copy the file again "
        "from where it was made".format(path, found, KEY_LENGTH)
    )


def _fits(digits: str) -> bool:
    """Whether five digits are four bytes."""
    value = 0
    for digit in digits:
        value = value * len(Z85_DIGITS) + Z85_DIGITS.index(digit)
    return value < 2**32
