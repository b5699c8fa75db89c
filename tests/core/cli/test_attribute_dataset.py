from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from click.testing import CliRunner

from inseq_core.cli.program import program
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.errors import InvalidArgumentError

pytestmark = pytest.mark.usefixtures("toys")

TEXTS = ("the dog", "a cat sees", "she likes it")


@pytest.fixture
def path(tmp_path):
    """Three texts with outputs, in a file."""
    file = tmp_path / "rows.csv"
    file.write_text("text,output\n" + "".join(f"{t},{t} because he\n" for t in TEXTS))
    return str(file)


def run(path, *arguments, model="toy-lm", method="positional"):
    """``inseq attribute-dataset`` with these arguments."""
    given = ["attribute-dataset", "-d", path, "-in", "text", "-m", model, "-a", method]
    return CliRunner().invoke(program, [*given, *arguments])


def saved(path, tmp_path, *arguments, **options):
    """The result that the command saved."""
    file = tmp_path / "out.json"
    result = run(path, *arguments, "--hide", "-o", str(file), **options)
    assert result.exit_code == 0, result.output
    return FeatureAttributionOutput.load(file)


def test_one_command_shows_every_text(path):
    """In one table a text."""
    result = run(path)

    assert result.exit_code == 0, result.output
    assert "3 of 3" in result.output and "likes" in result.output


def test_options_are_written_with_underscores_hyphens_or_the_peer_s_short_names(path, tmp_path):
    """All of them name the same."""
    file = tmp_path / "out.json"
    last = ["-m", "toy-lm", "-a", "positional", "--hide", "-o", str(file)]
    for first in (
        ["--dataset_name", path, "--input_text_field", "text", "--dataset_split", "train[:1]"],
        ["--dataset-name", path, "--input-text-field", "text", "--dataset-split", "train[:1]"],
        ["--dataset", path, "--input", "text", "--split", "train[:1]"],
    ):
        result = CliRunner().invoke(program, ["attribute-dataset", *first, *last])
        assert result.exit_code == 0, result.output
        assert FeatureAttributionOutput.load(file).info.input_texts == TEXTS[:1]


def test_options_of_the_attribution_reach_it(path, tmp_path):
    """The same as those of inseq attribute."""
    out = saved(
        path,
        tmp_path,
        *("-gen", "output", "-fn", "logit", "-bs", "2", "-s", "2", "-e", "4", "--seed", "7"),
        *("--step_scores", "probability", "entropy", "--attribute_target", "--eos"),
        *("--output_step_attributions", "--attribution_kwargs", '{"sign": -1.0}'),
        model="toy-translator",
        method="leave_out",
    )

    info = out.info
    assert (info.attr_pos_start, info.attr_pos_end, info.seed) == (2, 4, 7)
    assert info.attributed_fn == "logit" and info.step_scores == ("probability", "entropy")
    assert info.attribute_target and info.include_eos_baseline and info.output_step_attributions
    assert info.attribution_args["sign"] == -1.0
    assert info.generated_texts == tuple(f"{t} because he" for t in TEXTS)
    assert info.extras["dataset"]["generated_text_field"] == "output"
    assert len(out.step_attributions) == 2 * 2  # two steps of each of two batches


def test_files_of_a_kind_in_a_folder_are_read(path, tmp_path):
    """The library's way of naming them; how they are written is said in JSON."""
    (tmp_path / "more.csv").write_text("text;n\nit is;1\n")
    out = tmp_path / "out.json"
    arguments = ["-in", "text", "-m", "toy-lm", "-a", "positional", "--hide", "-o", str(out)]
    result = CliRunner().invoke(
        program,
        [
            *("attribute-dataset", "-d", "csv", "--files", "more.csv", "--dir", str(tmp_path)),
            *("--dataset_kwargs", '{"delimiter": ";"}'),
            *arguments,
        ],
    )

    assert result.exit_code == 0, result.output
    assert FeatureAttributionOutput.load(out).info.input_texts == ("it is",)


def test_options_of_the_hub_reach_the_library(monkeypatch):
    """All of them, and the token is not shown."""
    asked = {}

    def opened(name, field, generated, **options):
        asked.update(options, name=name, field=field, generated=generated)
        raise InvalidArgumentError("seen")

    monkeypatch.setattr("inseq_core.dataset.opening.open_dataset", opened)
    result = run(
        "someone/something",
        *("--config", "en", "--revision", "v1", "--auth", "secret", "--split", "test", "-gen", "o"),
    )

    assert "seen" in result.output and "secret" not in result.output
    assert asked == {
        "name": "someone/something",
        "field": "text",
        "generated": "o",
        "dataset_config": "en",
        "dataset_dir": None,
        "dataset_files": (),
        "dataset_split": "test",
        "dataset_revision": "v1",
        "dataset_auth_token": "secret",
        "dataset_kwargs": None,
    }


def test_what_is_saved_is_aggregated_on_demand(path, tmp_path):
    """positional has two layers, the second ten times the first: the mean is 5.5 times the position."""
    whole = saved(path, tmp_path)
    mean = saved(path, tmp_path, "--aggregate_output")
    second = saved(path, tmp_path, "--attribution_selectors", "1")
    summed = saved(path, tmp_path, "--attribution_aggregators", "sum", "--no_normalize_attributions")
    words = saved(path, tmp_path, "--attribution_aggregators", "words")
    merged = saved(path, tmp_path, "--attribution_aggregators", "words", "--aggregate_output")

    assert whole[0].axes == ("layer",) and mean[0].axes == second[0].axes == summed[0].axes == ()
    first_step = whole[0].target_attributions[1, 0]
    assert list(first_step) == [1.0, 10.0]
    assert summed[0].target_attributions[1, 0] == 11.0
    assert mean[0].target_attributions[1, 0] == whole.aggregate()[0].target_attributions[1, 0]
    assert list(words) == list(whole.aggregate("words")) and list(merged) == list(words.aggregate())


def test_normalised_and_rescaled_scores_are_saved(path, tmp_path):
    """Each step sums to one, or the text has a largest score of one."""
    normalized = saved(path, tmp_path, "--normalize_attributions")[0].target_attributions[:, 0]
    rescaled = saved(path, tmp_path, "--rescale_attributions")[0].target_attributions.ravel()

    assert sum(s for s in normalized if s == s) == pytest.approx(1, abs=1e-6)
    assert max(s for s in rescaled if s == s) == pytest.approx(1, abs=1e-6)


def test_the_picture_is_written(path, tmp_path):
    """Of all texts."""
    page = tmp_path / "out.html"
    result = run(path, "--hide", "--viz_path", str(page))

    assert result.exit_code == 0, result.output
    assert "likes" in page.read_text() and "sees" in page.read_text() and result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (("--split", "train[9:]"), "the chosen part of it has no rows", 1),
        (("-gen", "outpt"), "Did you mean 'output'", 1),
        (("--config", "en"), "dataset_config = 'en'", 1),
        (("--dataset_kwargs", "[1]"), "is a JSON list", 2),
        (("--hide",), "leaves nothing to see", 2),
        (("--save_path", "nowhere/at/all.json"), "does not exist", 2),
        (("--step_scores", "nonsense"), "nonsense", 2),
        (("-bs", "0"), "batch_size = 0", 1),
    ],
)
def test_what_is_wrong_is_one_message(path, arguments, message, status):
    """A usage error is status 2, ours 1."""
    result = run(path, *arguments)

    assert message in result.output
    assert result.exit_code == status


def test_a_missing_file_and_field_are_said_before_a_model_is_loaded(tmp_path, path):
    """The model's name is wrong, too."""
    assert "There is no file" in run(str(tmp_path / "no.csv"), model="no-such-model").output
    result = CliRunner().invoke(
        program, ["attribute-dataset", "-d", path, "-in", "txt", "-m", "no-such-model"]
    )
    assert "Fields: text, output" in result.output


def test_help_imports_no_framework():
    """It is asked for more often than anything else."""
    code = """
        import sys
        from inseq_core.cli.main import main
        try:
            main([sys.argv[1], "-h"])
        except SystemExit:
            pass
        heavy = {"torch", "transformers", "captum", "datasets", "pyarrow"} & set(sys.modules)
        print("HEAVY", sorted(heavy))
    """
    for command in ("attribute-dataset", "attribute-context"):
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), command], capture_output=True, text=True, check=True
        )
        assert "Usage" in result.stdout and "HEAVY []" in result.stdout


def mortal(path, *arguments, dies_at="she", by="SIGKILL"):
    """The command in a process of its own that gets a signal when it comes to the text with ``dies_at``."""
    code = f"""
        import os, signal, sys
        from inseq_core.testing.toys import ADAPTER, BagModel
        from inseq_core.hooks import ModelSpec, get_host
        from inseq_core.cli.main import main

        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Mortal(BagModel):
            def generate(self, texts, arguments):
                if {dies_at!r} in texts[0].input_text:
                    os.kill(os.getpid(), signal.{by})
                return super().generate(texts, arguments)

        get_host().adapters.register(ADAPTER)
        spec = ModelSpec(name="mortal", location=lambda: Mortal(), summary="A toy.", framework="toy")
        get_host().models.register(spec)
        main(["attribute-dataset", "-d", {path!r}, "-in", "text", "-m", "mortal", "-a", "dummy",
              "-bs", "1", "--hide", *sys.argv[1:]])
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_that_is_killed_leaves_no_file(path, tmp_path):
    """In the middle of the texts: what was there before stays, and nothing half-written appears."""
    file = tmp_path / "out.json"
    file.write_text("before")

    result = mortal(path, "-o", file)

    assert result.returncode == -signal.SIGKILL, result.stderr
    assert file.read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["out.json", "rows.csv"]


def test_a_run_that_was_killed_is_gone_on_with(path, tmp_path):
    """What was done is not done again: in the second run the texts before the kill would kill it."""
    file, kept = tmp_path / "out.json", tmp_path / "kept"
    result = mortal(path, "-o", file, "--checkpoint_dir", kept)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert len(list(kept.glob("rows-*.json.gz"))) == 2

    result = mortal(path, "-o", file, "--checkpoint_dir", kept, dies_at="cat")

    assert result.returncode == 0, result.stderr
    assert FeatureAttributionOutput.load(file).info.input_texts == TEXTS


@pytest.mark.parametrize("by", ["SIGINT", "SIGTERM"])
def test_a_run_that_is_interrupted_says_how_to_go_on(path, tmp_path, by):
    """Hours of work look lost otherwise."""
    kept = tmp_path / "kept"
    result = mortal(path, "-o", tmp_path / "out.json", "--checkpoint_dir", kept, by=by)

    assert result.returncode == 128 + getattr(signal, by)
    assert result.stderr.endswith(f". The same command goes on from {kept}.\n")
    assert result.stderr.count("\n") == 1
