"""The kit itself: what it reports, what it takes, and how it is strict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

import inseq
import inseq_core as ic
from inseq_core.cli.check import check_names
from inseq_core.errors import InvalidArgumentError, UnknownNameError
from inseq_core.hooks import get_host
from inseq_core.testing import (
    NonConformance,
    check_aggregator,
    check_method,
    check_model_adapter,
    check_plugin,
    check_step_function,
    check_viewer,
    parametrize_with_checks,
    run_checks,
)
from inseq_core.testing.toys import BagModel

SILENT = "the figure is drawn by matplotlib, which this test does not need"


@attrs.frozen(kw_only=True)
class Forgetful:
    """Drops step scores."""

    def aggregate(self, attribution):
        return attrs.evolve(attribution, step_scores={})


FORGETFUL = ic.AggregatorSpec(name="forgetful", factory=Forgetful, summary="Drops step scores.")


@pytest.mark.parametrize(
    "check",
    [
        lambda: check_aggregator("words"),
        lambda: check_step_function("entropy"),
        lambda: check_viewer("terminal"),
        lambda: check_method("dummy", known_failures={"its_source_is_named": "it scores nothing"}),
        lambda: check_model_adapter(BagModel()),
        lambda: check_model_adapter(inseq.AttributionModel(BagModel(is_encoder_decoder=True))),
        lambda: check_plugin("core-aggregate"),
    ],
    ids=["aggregator", "step_function", "viewer", "method", "adapter", "model", "plugin"],
)
def test_each_kind_has_a_function_that_gives_its_report(check):
    """Usable without pytest."""
    report = check()

    assert report.passed
    assert report.count("passed") > 3


def test_a_failure_is_raised_with_the_whole_report():
    """What failed, what should hold, and what was found, in words."""
    with pytest.raises(NonConformance) as error:
        check_aggregator(FORGETFUL)

    text = str(error.value)
    assert "aggregator 'forgetful' (registered in this session)" in text
    assert "Every step score is still there" in text
    assert "→ a translation: step scores ['entropy', 'probability'] are gone" in text
    assert "10 passed, 1 failed" in text


def test_a_known_failure_needs_a_reason_and_a_check_that_exists():
    """An announcement without a reason is a failure that nobody will look at again."""
    with pytest.raises(InvalidArgumentError, match=r"known_failures\['step_scores_are_kept'\] = '' "):
        run_checks(FORGETFUL, known_failures={"step_scores_are_kept": ""})
    with pytest.raises(InvalidArgumentError, match="expected the id of a check: it_loads, "):
        run_checks(FORGETFUL, known_failures={"step_scores": "they are dropped on purpose"})


def test_a_known_failure_that_passes_is_a_failure():
    """Otherwise announcements outlive what they are about."""
    known = {"step_scores_are_kept": "dropped on purpose", "it_loads": "it used to fail"}

    report = run_checks(FORGETFUL, known_failures=known)

    assert [finding.check for finding in report.failures] == ["it_loads"]
    assert "take it out of known_failures" in report.failures[0].detail
    assert report.count("known failure") == 1


def test_under_pytest_a_known_failure_is_strict(tmp_path: Path):
    """The same in the tests of a plugin: expected to fail, and a failure when it passes."""
    (tmp_path / "test_contract.py").write_text(
        "from inseq_core.testing import parametrize_with_checks\n"
        "test_words = parametrize_with_checks('words', known_failures={'it_loads': 'it used to fail'})\n"
        "test_dummy = parametrize_with_checks('dummy', known_failures={'its_source_is_named': 'it scores nothing'})\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "it_loads or source",
            "-rA",
            ".",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "FAILED test_contract.py::test_words[it_loads]" in done.stdout
    assert "[XPASS(strict)] it used to fail" in done.stdout
    assert "XFAIL test_contract.py::test_dummy[its_source_is_named]" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def test_a_check_is_a_case_with_its_own_name():
    """So that one can be run alone."""
    (mark,) = parametrize_with_checks("words").pytestmark

    assert [case.id for case in mark.args[1]][:2] == ["it_loads", "parameters_are_documented"]


def test_what_does_not_apply_is_no_test_case():
    """A list of skips hides the one that matters."""
    (mark,) = parametrize_with_checks("saliency").pytestmark
    names = [case.id for case in mark.args[1]]

    assert "complete_scores_add_up" not in names
    assert "unsigned_scores_are_not_negative" in names


def test_an_unknown_name_says_what_is_near():
    """As everywhere else."""
    with pytest.raises(UnknownNameError, match="Did you mean 'words'"):
        run_checks("wrds")
    with pytest.raises(InvalidArgumentError, match="a name, a spec record, a loaded model or its adapter"):
        run_checks(3)


@pytest.fixture
def registered():
    """An aggregator, a step function and a method registered at run time, as in a notebook."""

    def certainty(args):
        return args.logits.max(-1)[0] if hasattr(args.logits, "log_softmax") else args.logits.max(-1)

    inseq.register_aggregator(Forgetful, "in_this_session")
    inseq.register_step_function(certainty, "certainty_in_this_session")
    yield
    get_host().aggregators.unregister("in_this_session")
    get_host().step_functions.unregister("certainty_in_this_session")


def test_what_is_registered_at_run_time_is_checked_alike_and_says_so(registered):
    """Notebooks get the same checks, and a provenance that tells results apart."""
    report = run_checks("in_this_session")
    (function,) = {finding.subject for finding in run_checks("certainty_in_this_session").findings}

    assert [finding.check for finding in report.failures] == ["step_scores_are_kept"]
    assert report.findings[0].subject == "aggregator 'in_this_session' (registered in this session)"
    assert "registered in this session" in function
    session = get_host().plugins()[-1]
    assert (session.name, session.provides["aggregators"]) == ("session", ("in_this_session",))


def test_nothing_of_the_kit_stays_registered():
    """It registers what it looks at under a name of its own, for the time of a call."""
    run_checks("entropy")
    with pytest.raises(NonConformance):
        check_aggregator(FORGETFUL)

    every = [
        name for kind in ("methods", "step_functions", "aggregators") for name in get_host().registry(kind)
    ]
    assert [name for name in every if "@kit" in name or name == "forgetful"] == []


# -- the command


@pytest.fixture
def run():
    """Runs ``inseq check``."""
    return lambda *arguments: CliRunner().invoke(check_names, list(arguments))


def test_the_command_shows_failures_and_exits_with_one(run, registered):
    """For continuous integration of a plugin, without a line of Python."""
    good, bad = run("words"), run("in_this_session")

    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert "11 passed" in good.stdout
    assert "step scores ['entropy', 'probability'] are gone" in " ".join(bad.stdout.split())


def test_the_command_takes_known_failures_and_gives_plain_data(run, registered):
    """What a test file can say, a command line can say."""
    done = run("in_this_session", "--known", "step_scores_are_kept=dropped on purpose", "--json")
    findings = json.loads(done.stdout)

    assert done.exit_code == 0
    assert [f["check"] for f in findings if f["outcome"] == "known failure"] == ["step_scores_are_kept"]
    assert run("words", "--known", "it_loads").exit_code == 2


def test_the_command_checks_a_plugin_with_everything_in_it(run):
    """A plugin's author has one name to remember."""
    done = run("core-aggregate", "--json")
    subjects = {finding["subject"].partition(" (")[0] for finding in json.loads(done.stdout)}

    assert done.exit_code == 0
    assert {"plugin 'core-aggregate'", "aggregator 'spans'", "aggregation function 'vnorm'"} <= subjects
