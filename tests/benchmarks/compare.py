"""Cases, workers, and ratios of medians from interleaved runs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent


class Case(NamedTuple):
    """A call of both: a model, a method, tokens of prompt and output, arguments, texts."""

    model: str
    method: str
    prompt: int
    generated: int
    arguments: dict[str, Any]
    batch: int = 1

    @property
    def label(self) -> str:
        """As it stands in the table."""
        texts = f", {self.batch} texts" if self.batch > 1 else ""
        return f"{self.model} | {self.method}{texts} | {self.prompt}/{self.generated}"


NODES = {"n_steps": 20}
BOTH = {"attribute_target": True}

CASES: tuple[Case, ...] = (
    Case("tiny", "saliency", 8, 8, {}),
    Case("tiny", "saliency", 16, 16, {}),
    Case("tiny", "saliency", 32, 32, {}),
    Case("tiny", "saliency", 64, 64, {}),
    Case("tiny", "saliency", 128, 128, {}),
    Case("tiny", "saliency", 16, 16, {}, batch=8),
    Case("gpt2", "saliency", 16, 16, {}),
    Case("gpt2", "input_x_gradient", 16, 16, {}),
    Case("gpt2", "saliency", 64, 64, {}),
    Case("tiny", "integrated_gradients", 16, 16, NODES),
    Case("gpt2", "integrated_gradients", 16, 16, NODES),
    Case("tiny", "integrated_gradients", 64, 64, NODES),
    Case("tiny", "gradient_shap", 16, 16, {"n_samples": 5}),
    Case("gpt2", "gradient_shap", 16, 16, {"n_samples": 5}),
    Case("tiny", "occlusion", 8, 8, {}),
    Case("tiny", "occlusion", 16, 16, {}),
    Case("tiny", "occlusion", 32, 32, {}),
    Case("tiny", "occlusion", 64, 64, {}),
    Case("gpt2", "occlusion", 16, 16, {}),
    Case("tiny", "lime", 16, 16, {}),
    Case("llama", "value_zeroing", 16, 16, {}),
    Case("tiny", "attention", 16, 16, {}),
    Case("gpt2", "attention", 16, 16, {}),
    Case("gpt2", "attention", 64, 64, {}),
    Case("gpt2", "dummy", 16, 16, {"step_scores": ["probability"]}),
    Case("marian", "saliency", 16, 16, BOTH),
    Case("marian", "saliency", 64, 64, BOTH),
    Case("marian", "integrated_gradients", 16, 16, {**BOTH, **NODES}),
    Case("marian", "occlusion", 16, 16, BOTH),
)
"""What is compared; lengths double, so that the growth of the cost with the steps can be read off."""


class Worker:
    """A running ``worker.py`` under some interpreter."""

    def __init__(self, python: str, threads: int) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "BENCH_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
        }
        environment.pop("PYTHONPATH", None)
        self.process = subprocess.Popen(
            [python, str(HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd="/",
        )

    def run(self, case: dict[str, Any]) -> dict[str, Any]:
        """The answer to one case."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("The worker has no pipes.")
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            return {"error": f"the worker ended with status {self.process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(timeout=30)


def median(answers: list[dict[str, Any]], key: str) -> float:
    """Median of one figure over runs."""
    return statistics.median(a[key] for a in answers)


def largest_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Largest difference of two runs' scores, relative to the largest score; infinity where shapes differ."""
    worst = 0.0
    for a, b in zip(ours["scores"], theirs["scores"], strict=True):
        for side in ("source_attributions", "target_attributions"):
            if side not in a or side not in b:
                continue
            flat_a = [x for row in a[side] for x in row if x is not None]
            flat_b = [x for row in b[side] for x in row if x is not None]
            if len(flat_a) != len(flat_b) or not flat_a:
                return float("inf")
            top = max(map(abs, flat_b)) or 1.0
            worst = max(worst, max(abs(x - y) for x, y in zip(flat_a, flat_b, strict=True)) / top)
    return worst


def machine() -> str:
    """A line about the machine."""
    name = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        ]
        name = names[0] if names else name
    return f"{os.cpu_count()} × {name}, Python {sys.version.split()[0]}"
