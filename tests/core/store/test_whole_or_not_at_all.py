from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap

import pytest
from support.results import encoder_decoder, output_of

from inseq_core.errors import FileAccessError, InseqError, SavedFileExistsError, SavedFileMissingError
from inseq_core.store import load_attributions, save_attributions


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_an_error_while_writing_leaves_what_was_there(broken, tmp_path, monkeypatch):
    """A full disk at the last moment: the old file is whole, and nothing lies beside it."""
    path = tmp_path / "out.json"
    save_attributions(output_of(encoder_decoder()), path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(FileAccessError, match=r"out\.json could not be written: No space left"):
        save_attributions(output_of(encoder_decoder(), model_name="other"), path, overwrite=True)

    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_an_output_that_cannot_be_written_leaves_nothing(tmp_path):
    """The content is made before a file is."""

    class Unwritable:
        def __len__(self):
            return 1

    with pytest.raises(AttributeError):
        save_attributions(Unwritable(), tmp_path / "out.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_killed_process_leaves_the_old_file_whole(moment, tmp_path):
    """Killed just before the bytes reach the disk, and just before the new file gets its name."""
    path = tmp_path / "out.json"
    save_attributions(output_of(encoder_decoder()), path)
    program = f"""
        import os, sys
        sys.path[:0] = {[p for p in sys.path if p]!r}
        from support.results import encoder_decoder, output_of
        from inseq_core.store import save_attributions
        os.{moment} = lambda *_: os._exit(9)
        save_attributions(output_of(encoder_decoder(), model_name="other"), {str(path)!r}, overwrite=True)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, timeout=60)

    assert done.returncode == 9
    assert load_attributions(path) == load_attributions(path)
    assert load_attributions(path).info["model_name"] == "toy"


def test_a_file_that_appears_meanwhile_is_protected_too(tmp_path, monkeypatch):
    """Two jobs with one name: the second one to finish must not win in silence."""
    path = tmp_path / "out.json"
    flush = os.fsync

    def late(descriptor):
        flush(descriptor)
        path.write_text("the other job's", encoding="utf-8")

    monkeypatch.setattr(os, "fsync", late)
    with pytest.raises(SavedFileExistsError):
        save_attributions(output_of(encoder_decoder()), path)

    assert path.read_text(encoding="utf-8") == "the other job's"
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_file_systems_without_links_are_served(tmp_path, monkeypatch):
    """Some network and memory-stick file systems have none."""

    def no_links(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    save_attributions(output_of(encoder_decoder()), tmp_path / "out.json")

    assert load_attributions(tmp_path / "out.json") is not None
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
@pytest.mark.parametrize("name", ["out.json", "out.json.gz", "out.safetensors", "out.html"])
def test_a_disk_that_is_full_is_an_error_of_ours_and_leaves_nothing(name, tmp_path):
    """A trace of Python's own, with the name of a file that nobody asked for, helps nobody."""
    import resource

    out, path = output_of(encoder_decoder()), tmp_path / name
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, before[1]))
    try:
        with pytest.raises(FileAccessError, match=rf"{name} could not be written: File too large"):
            out.save_html(path) if name.endswith("html") else out.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert not list(tmp_path.iterdir())


def test_a_folder_is_said_to_be_one(tmp_path):
    """Advice to overwrite it would be bad advice."""
    out = output_of(encoder_decoder())
    for overwrite in (False, True):
        with pytest.raises(SavedFileExistsError, match=r"is a folder\.\n  Name a file"):
            out.save(tmp_path, overwrite=overwrite)
    with pytest.raises(SavedFileMissingError, match="is a folder"):
        load_attributions(tmp_path)


def test_a_link_stays_a_link(tmp_path):
    """Results that are linked to another disk are to land there."""
    (tmp_path / "disk").mkdir()
    link = tmp_path / "out.json"
    link.symlink_to(tmp_path / "disk" / "out.json")
    for _ in range(2):  # to nothing yet, then to a file
        output_of(encoder_decoder()).save(link, overwrite=True)

        assert link.is_symlink()
        assert [p.name for p in (tmp_path / "disk").iterdir()] == ["out.json"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are POSIX")
def test_what_is_no_ordinary_file_is_written_to_and_never_replaced(tmp_path):
    """``-o /dev/null`` of an administrator made a file of it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        output_of(encoder_decoder()).save(pipe, overwrite=True)

        assert os.read(reader, 4) == b'{"fo'
        assert pipe.is_fifo()
    finally:
        os.close(reader)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="links of Linux")
def test_a_file_without_a_name_is_written_to(tmp_path, monkeypatch):
    """``-o /dev/stdout`` of a program whose output is a temporary file made one named "… (deleted)"."""
    monkeypatch.chdir(tmp_path)
    with open(tmp_path / "out.json", "w+b") as file:
        (tmp_path / "out.json").unlink()
        output_of(encoder_decoder()).save(f"/proc/self/fd/{file.fileno()}", overwrite=True)

        assert file.read(4) == b'{"fo'
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "x" * 300 + ".json"])
def test_a_name_that_no_file_can_have_is_refused(name):
    """For saving and for loading, by an error of ours."""
    with pytest.raises(InseqError, match=r"too long|expected the path of a file"):
        output_of(encoder_decoder()).save(name)
    with pytest.raises(InseqError, match=r"too long|There is no file|expected the path of a file"):
        load_attributions(name)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_permissions(mode, tmp_path):
    """What was private stays private."""
    path = tmp_path / "out.json"
    output_of(encoder_decoder()).save(path)
    path.chmod(mode)

    output_of(encoder_decoder(), model_name="other").save(path, overwrite=True)

    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert load_attributions(path).info["model_name"] == "other"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_private_file_is_not_readable_while_it_is_replaced(tmp_path, monkeypatch):
    """Not even under the name that it has for a moment."""
    path = tmp_path / "out.json"
    output_of(encoder_decoder()).save(path)
    path.chmod(0o600)
    modes, flush = set(), os.fsync

    def look(descriptor):
        modes.add(stat.S_IMODE(os.fstat(descriptor).st_mode))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    output_of(encoder_decoder(), model_name="other").save(path, overwrite=True)

    assert 0o600 in modes and 0o644 not in modes
