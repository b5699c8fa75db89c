"""One file a text: all files of one output, or none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
from support.results import decoder_only, output_of

from inseq_core.errors import FileAccessError, FileFormatError
from inseq_core.store import load_attributions, save_attributions

FORMS = (".json", ".json.gz", ".safetensors")


def texts(count, **info):
    """An output of so many texts."""
    return output_of(*(decoder_only(seed=i) for i in range(count)), **info)


def fail_at(monkeypatch, name, number, error):
    """``os.NAME`` that fails at its call with that number."""
    usual, calls = getattr(os, name), []

    def failing(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == number:
            raise error
        return usual(*arguments, **keywords)

    monkeypatch.setattr(os, name, failing)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("moves", [1, 2])
def test_a_mixture_of_two_outputs_is_never_loaded(form, moves, tmp_path, monkeypatch):
    """The first text of today with the others of yesterday looks like any result."""
    path = tmp_path / f"out{form}"
    save_attributions(texts(3, model_name="yesterday"), path, split_sequences=True)
    with monkeypatch.context() as patch:
        fail_at(patch, "replace", moves + 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            save_attributions(texts(3, model_name="today"), path, split_sequences=True, overwrite=True)

    with pytest.raises(FileFormatError, match=r"of another output than(.|\n)*save again"):
        load_attributions(path)
    assert len(list(tmp_path.iterdir())) == 3

    save_attributions(texts(3, model_name="today"), path, split_sequences=True, overwrite=True)
    assert load_attributions(path).info["model_name"] == "today"


def test_a_save_that_is_killed_between_parts_is_noticed(tmp_path):
    """The same, by a signal that nothing can be done about."""
    path = tmp_path / "out.json"
    save_attributions(texts(3, model_name="yesterday"), path, split_sequences=True)
    program = f"""
        import os, signal, sys
        sys.path[:0] = {[p for p in sys.path if p]!r}
        from support.results import decoder_only, output_of
        from inseq_core.store import save_attributions

        usual = os.replace
        def replace(*arguments):
            usual(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        os.replace = replace
        today = output_of(*(decoder_only(seed=i) for i in range(3)), model_name="today")
        save_attributions(today, {str(path)!r}, split_sequences=True, overwrite=True)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, timeout=60)

    assert done.returncode == -9
    with pytest.raises(FileFormatError, match="of another output than"):
        load_attributions(path)


def test_the_same_output_saved_once_more_is_the_same_files(tmp_path):
    """What tells two outputs apart is made of what is in them, and not of the time."""
    outputs = {"a": texts(2), "b": texts(2), "c": texts(2, model_name="other")}
    for name, output in outputs.items():
        save_attributions(output, tmp_path / f"{name}.json", split_sequences=True)
    a, b, c = (
        [json.loads((tmp_path / f"{name}_{i}.json").read_bytes())["part"]["set"] for i in (0, 1)]
        for name in outputs
    )

    assert (tmp_path / "a_1.json").read_bytes() == (tmp_path / "b_1.json").read_bytes()
    assert a[0] == a[1] == b[0] and c[0] == c[1] != a[0]


def test_files_of_older_versions_are_put_together_as_before(tmp_path):
    """They do not say which output they are of."""
    for file in save_attributions(texts(2), tmp_path / "out.json", split_sequences=True):
        document = json.loads(file.read_bytes())
        del document["part"]["set"]
        file.write_text(json.dumps(document), encoding="utf-8")

    assert load_attributions(tmp_path / "out.json") == texts(2)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
@pytest.mark.parametrize("form", FORMS)
def test_a_disk_that_is_full_at_the_second_part_leaves_nothing(form, tmp_path):
    """The message says so, and saving once more must not find its own first part in the way."""
    import resource

    path = tmp_path / f"out{form}"
    out = output_of(decoder_only(hidden=1), decoder_only(hidden=64))
    first, second = save_attributions(out, path, split_sequences=True)
    sizes = [first.stat().st_size, second.stat().st_size]
    for file in (first, second):
        file.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sum(sizes) // 2, before[1]))
    try:
        with pytest.raises(FileAccessError, match=r"out_1.*File too large(.|\n)*Nothing was changed"):
            save_attributions(out, path, split_sequences=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert not list(tmp_path.iterdir())
    save_attributions(out, path, split_sequences=True)
    assert load_attributions(path) == out


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_parts_that_have_their_names_are_taken_back_where_the_next_fails(error, tmp_path, monkeypatch):
    """All files of an output, or none."""
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(95, "Not supported")))
    fail_at(monkeypatch, "replace", 3, error)
    with pytest.raises((FileAccessError, KeyboardInterrupt)):
        save_attributions(texts(3), tmp_path / "out.json", split_sequences=True)

    assert not list(tmp_path.iterdir())


def test_what_was_replaced_already_is_said(tmp_path, monkeypatch):
    """ "Nothing was changed" would not be true."""
    save_attributions(texts(3), tmp_path / "out.json", split_sequences=True)
    fail_at(monkeypatch, "replace", 3, OSError(5, "Input/output error"))
    with pytest.raises(FileAccessError, match=r"out_2.json(.|\n)*2 of 3 files were replaced already"):
        save_attributions(texts(3), tmp_path / "out.json", split_sequences=True, overwrite=True)


@pytest.mark.parametrize("form", FORMS)
def test_parts_of_a_larger_output_go_with_it(form, tmp_path):
    """They belong to what was to be replaced; what only has such a name does not."""
    path = tmp_path / f"out{form}"
    save_attributions(texts(4), path, split_sequences=True)
    save_attributions(texts(1, model_name="alone"), tmp_path / f"out_3{form}", overwrite=True)

    save_attributions(texts(2), path, split_sequences=True, overwrite=True)

    assert sorted(os.listdir(tmp_path)) == [f"out_{i}{form}" for i in (0, 1, 3)]
    assert load_attributions(path) == texts(2)
