"""Key files: private from the first byte, never overwritten by chance, never shown."""

import os
import stat

import pytest

from edgesdk import key_files
from edgesdk.errors import ConfigError
from edgesdk.key_files import read_public, read_secret, write_pair, write_public

# The test vector of libzmq's z85 documentation, as each of a pair.
PUBLIC = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
SECRET = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"


def refusal(action, *arguments, **options):
    with pytest.raises(ConfigError) as caught:
        action(*arguments, **options)
    return str(caught.value)


def mode(path):
    return stat.S_IMODE(os.stat(str(path)).st_mode)


@pytest.fixture
def folder(tmp_path):
    write_pair(tmp_path / "keys", "robot-1", PUBLIC, SECRET)
    return tmp_path / "keys"


class TestWriting:
    def test_each_file_is_one_line(self, folder):
        assert sorted(os.listdir(str(folder))) == ["robot-1.public", "robot-1.secret"]
        assert (folder / "robot-1.public").read_bytes() == PUBLIC.encode() + b"\n"
        assert (folder / "robot-1.secret").read_bytes() == SECRET.encode() + b"\n"

    def test_only_the_owner_may_read_the_secret(self, folder):
        assert mode(folder / "robot-1.secret") == 0o600

    def test_whatever_the_umask_and_from_the_first_byte(self, tmp_path, monkeypatch):
        modes = []
        monkeypatch.setattr(os, "fsync", lambda number: modes.append(os.fstat(number).st_mode))
        before = os.umask(0)
        try:
            write_pair(tmp_path, "r", PUBLIC, SECRET)
        finally:
            os.umask(before)
        assert [stat.S_IMODE(each) for each in modes] == [0o600, 0o666]  # the secret comes first
        assert mode(tmp_path / "r.secret") == 0o600

    @pytest.mark.parametrize("there", ["robot-1.public", "robot-1.secret"])
    def test_what_is_there_is_not_overwritten_unless_told(self, folder, there):
        kept = (folder / there).read_bytes()
        for other in {"robot-1.public", "robot-1.secret"} - {there}:
            (folder / other).unlink()
        message = refusal(write_pair, folder, "robot-1", SECRET, PUBLIC)
        assert there in message and "--renew robot-1" in message
        assert os.listdir(str(folder)) == [there] and (folder / there).read_bytes() == kept
        write_pair(folder, "robot-1", SECRET, PUBLIC, overwrite=True)
        assert read_public(folder, "robot-1") == SECRET

    def test_a_dangling_link_is_there_too(self, tmp_path):
        os.symlink(str(tmp_path / "stick"), str(tmp_path / "r.secret"))
        assert "r.secret: found a key" in refusal(write_pair, tmp_path, "r", PUBLIC, SECRET)

    def test_no_half_of_a_pair_is_written_if_the_other_is_no_key(self, tmp_path):
        assert "r.public: found 3 characters" in refusal(write_pair, tmp_path, "r", "abc", SECRET)
        assert os.listdir(str(tmp_path)) == []

    def test_a_public_key_alone(self, folder):
        write_public(folder, "robot-1", SECRET)
        assert read_public(folder, "robot-1") == SECRET
        assert read_secret(folder, "robot-1") == SECRET


class TestReading:
    def test_what_was_written(self, folder):
        assert read_public(str(folder), "robot-1") == PUBLIC
        assert read_secret(str(folder), "robot-1") == SECRET

    @pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
    def test_with_the_line_end_of_any_editor(self, folder, end):
        (folder / "robot-1.public").write_bytes(PUBLIC.encode() + end)
        assert read_public(folder, "robot-1") == PUBLIC

    @pytest.mark.parametrize("open_to", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644])
    def test_a_secret_that_others_can_reach_is_none(self, folder, open_to):
        path = folder / "robot-1.secret"
        path.chmod(open_to)
        message = refusal(read_secret, folder, "robot-1")
        assert "found mode {:04o}, expected 0600".format(open_to) in message
        assert "`chmod 600 {}`".format(path) in message
        path.chmod(0o400)
        assert read_secret(folder, "robot-1") == SECRET

    @pytest.mark.parametrize("read", [read_public, read_secret])
    def test_a_missing_file_says_which_command_makes_it(self, folder, read):
        message = refusal(read, folder, "nano-2")
        assert message.startswith(str(folder / "nano-2.")) and "No such file" in message
        assert "`python -m edgesdk.keys CLUSTER.toml nano-2`" in message

    @pytest.mark.parametrize("read", [read_public, read_secret])
    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (b"", "0 characters"),
            (SECRET[:39].encode() + b"\n", "39 characters"),
            (SECRET.encode() + b" \n", "41 characters"),
            (SECRET.encode() + b"\n" + SECRET.encode(), "81 characters"),
            (SECRET[:39].encode() + b"~", "characters that Z85 has not"),
            (SECRET[:39].encode() + b"\xff", "characters that Z85 has not"),
            (SECRET[:35].encode() + b"#####", "a number too large for 32 bytes"),
            (b"%nSc1" + SECRET[5:].encode(), "a number too large for 32 bytes"),
        ],
    )
    def test_what_is_no_key_is_refused_and_not_shown(self, folder, read, content, found):
        for path in folder.iterdir():
            path.write_bytes(content)
        message = refusal(read, folder, "robot-1")
        assert ": found {}, expected a CURVE key: 40 characters".format(found) in message
        assert SECRET[5:35] not in message

    def test_the_largest_key_fits(self, folder):
        (folder / "robot-1.public").write_bytes(b"%nSc0" * 8)  # 2**32 - 1, eight times
        assert read_public(folder, "robot-1") == "%nSc0" * 8

    def test_a_folder_in_the_place_of_a_file(self, folder):
        (folder / "nano-2.secret").mkdir()
        assert "Is a directory" in refusal(read_secret, folder, "nano-2")


def test_there_are_85_digits():
    assert len(set(key_files.Z85_DIGITS)) == len(key_files.Z85_DIGITS) == 85


def test_keys_of_libzmq_are_keys(tmp_path):
    zmq = pytest.importorskip("zmq")
    if not zmq.has("curve"):
        pytest.skip("this libzmq has no CURVE")
    for _ in range(50):
        pair = [key.decode() for key in zmq.curve_keypair()]
        write_pair(tmp_path, "r", pair[0], pair[1], overwrite=True)
        assert [read_public(tmp_path, "r"), read_secret(tmp_path, "r")] == pair
