"""The conformance kit, on the demo models as graphs."""

from __future__ import annotations

import pytest

from inseq_core.testing import run_checks

EXAMPLES = {
    "demo-lm": (
        ("The capital of France is", "Paris."),
        ("Once there was", "a small dog. The dog was happy."),
    ),
    "demo-en-fr": (
        ("The nurse met the doctor.", "L'infirmier a rencontré le médecin."),
        ("The developer argued with the designer.", "Le développeur s'est disputé avec la conceptrice."),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(EXAMPLES))
def test_an_exported_model_keeps_the_contract_of_adapters(exported, name):
    """With real tokenizers and real attention."""
    report = run_checks("onnx", "adapters", model=str(exported(name)), arguments={"examples": EXAMPLES[name]})

    assert report.passed, str(report)
