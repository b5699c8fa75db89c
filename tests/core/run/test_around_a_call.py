from __future__ import annotations

import io
import subprocess
import sys
import warnings

import numpy as np
import pytest

from inseq_core.errors import ApproximationWarning
from inseq_core.model import AttributionModel
from inseq_core.testing.toys import BagModel


class Terminal(io.StringIO):
    """A standard error that says it is one."""

    def isatty(self):
        return True


def watched(monkeypatch):
    """A terminal that can be read, from here on; a fixture's would be replaced by pytest's own capture."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    return terminal


@pytest.mark.parametrize("pretty", [True, False])
def test_progress_counts_steps_on_a_terminal(lm, monkeypatch, pretty):
    """A long call should say how far it is."""
    stderr = watched(monkeypatch)
    lm.attribute(["the dog", "a cat"], pretty_progress=pretty)

    assert "leave_out of toy-lm" in stderr.getvalue() and "16/16" in stderr.getvalue()


def test_progress_can_be_silenced_and_is_silent_where_nobody_looks(lm, monkeypatch):
    """Logs and notebooks get no control characters."""
    stderr = watched(monkeypatch)
    lm.attribute("the dog", show_progress=False)
    assert stderr.getvalue() == ""

    monkeypatch.setattr(Terminal, "isatty", lambda self: False)
    lm.attribute("the dog")
    assert stderr.getvalue() == ""


def test_our_warnings_are_shown_and_kept_in_the_info():
    """Whoever opens the file a year later should know too."""

    class Cautious(BagModel):
        def self_check(self, batch):
            warnings.warn("Slower, but right.", ApproximationWarning, stacklevel=2)
            warnings.warn("Not ours.", UserWarning, stacklevel=2)

    before = warnings.showwarning
    with pytest.warns(ApproximationWarning, match="Slower"), pytest.warns(UserWarning, match="Not ours"):
        info = AttributionModel(Cautious(), "dummy").attribute("the dog").info

    assert info.warnings == ("Slower, but right.",)
    assert warnings.showwarning is before


def test_the_work_of_the_self_check_is_not_the_method_s():
    """It happens once a model; passes are what the method costs."""

    class Counting(BagModel):
        def __init__(self):
            super().__init__()
            self.counts = {"forward": 0}

        def self_check(self, batch):
            self.counts["forward"] += 10

        def forward_rows(self, batch, grid):
            self.counts["forward"] += 1
            return super().forward_rows(batch, grid)

    info = AttributionModel(Counting(), "dummy").attribute("the dog", step_scores=["entropy"]).info

    assert info.passes == 1 and info.notes["counts"] == {"forward": 1}


def test_what_an_adapter_found_out_about_its_model_is_in_the_notes():
    """A model that had to be run in a slower way, say."""

    class Known(BagModel):
        notes = ("is a toy",)

    assert AttributionModel(Known(), "dummy").attribute("the dog").info.notes["model"] == ["is a toy"]


def test_the_plan_of_an_adapter_changes_nothing(lm, monkeypatch):
    """Chunks of steps on their own prefixes, in any order of texts, give the numbers of one pass."""
    texts = ["the dog sees", "a cat", "she likes it"]
    whole = lm.attribute(texts, method="positional", step_scores=["entropy"])
    monkeypatch.setattr(lm.adapter, "plan", lambda batch, grid, spec: list(grid.chunks(3))[::-1])
    parts = lm.attribute(texts, method="positional", step_scores=["entropy"])

    assert list(parts) == list(whole)


def test_a_context_sees_no_more_of_the_texts_than_its_rows_look_at(lm, monkeypatch):
    """What is not there cannot leak, and costs nothing."""
    seen = []

    def look(ctx):
        seen.append((len(ctx.batch), ctx.batch.target_ids.shape[1], ctx.grid.position.max()))
        assert all(len(t.target_ids) > ctx.batch.target_ids.shape[1] for t in ctx.request.full_texts)
        return ctx.output(target=np.zeros(ctx.target_shape))

    monkeypatch.setattr(lm.adapter, "plan", lambda batch, grid, spec: list(grid.chunks(2)))
    lm.attribute("the dog", method="broken", output=look)

    assert seen == [(1, 4, 4), (1, 6, 6), (1, 8, 8), (1, 10, 10)]


def test_the_pipeline_runs_without_torch():
    """The core's promise: numpy models, and results, where no framework is installed."""
    code = (
        "import sys, inseq\n"
        "sys.modules['torch'] = None\n"
        "from inseq_core.model import AttributionModel\n"
        "from inseq_core.testing.toys import BagModel\n"
        "out = AttributionModel(BagModel(), 'dummy').attribute('the dog', step_scores=['entropy'])\n"
        "assert len(out) == 1 and 'transformers' not in sys.modules and 'captum' not in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
