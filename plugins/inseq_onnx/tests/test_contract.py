"""The conformance kit, on graphs of every shape that is supported."""

from __future__ import annotations

import pytest

from inseq_core.testing import run_checks

EXAMPLES = (("the dog sees", "a small cat"), ("a", "red cat hears the small dog and the cat"))


@pytest.mark.filterwarnings("ignore::inseq_core.errors.ApproximationWarning")
@pytest.mark.parametrize(
    ("make", "switches"),
    [
        ("decoder_only", {}),
        ("decoder_only", {"rows": True}),
        ("decoder_only", {"mask": False}),
        ("decoder_only", {"batch": 1}),
        ("decoder_only", {"causal": False}),
        ("translator", {"rows": True}),
        ("translator", {"encoder": "inside"}),
        ("translator", {"encoder": "inside", "source_mask": False}),
    ],
    ids=lambda value: (
        value if isinstance(value, str) else "-".join(f"{k}={v}" for k, v in value.items()) or "plain"
    ),
)
def test_an_exported_model_keeps_the_contract_of_adapters(workshop, make, switches):
    """Slower ways are ways, too: what is not causal or takes one text at a time has to be right all the same."""
    folder = getattr(workshop, make)(**switches)

    looks_ahead = {"passes_are_counted": "a graph that looks ahead is run once a step"}
    known = {} if switches.get("causal", True) else looks_ahead

    report = run_checks(
        "onnx", "adapters", model=str(folder), arguments={"examples": EXAMPLES}, known_failures=known
    )

    assert report.passed, str(report)
