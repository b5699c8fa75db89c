"""Sizes and times of results: saved, loaded, aggregated, shown. Prints a table; asserts nothing.

python tests/benchmarks/saved_results.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from inseq_core.data.attribution import FeatureAttributionSequenceOutput
from inseq_core.data.info import AttributionInfo
from inseq_core.data.output import FeatureAttributionOutput
from inseq_core.store import load_attributions, save_attributions

SHOW = """
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "captum"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, NotInstalled())
import inseq
inseq.load_attributions(sys.argv[1]).show()
"""


def result(prompt: int, steps: int, hidden: int, seed: int = 0) -> FeatureAttributionSequenceOutput:
    """A decoder-only result with scores like gradients: signs, and sizes over orders of magnitude."""
    draw = np.random.default_rng(seed)
    length = prompt + steps
    sizes = np.exp(draw.normal(size=(length, steps, 1)))
    scores = (draw.standard_normal((length, steps, hidden)) * sizes).astype(np.float32)
    for k in range(steps):
        scores[prompt + k :, k] = np.nan
    target = [f"Ġtoken{i}" for i in range(length)]
    return FeatureAttributionSequenceOutput(
        source=target[:prompt],
        target=target,
        target_attributions=scores,
        attr_pos_start=prompt,
        axes=("hidden",),
        default_aggregation=("vnorm",),
        normalize=True,
        step_scores={"probability": draw.random(steps)},
    )


def cpu() -> float:
    """Seconds of processor time of this process and of those it has waited for."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def main() -> None:
    """Print the table."""
    cases = {
        "granular 64+64, 128 dimensions": result(64, 64, 128),
        "aggregated 64+64": result(64, 64, 128).aggregate(),
        "aggregated 16+16": result(16, 16, 64).aggregate(),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, sequence in cases.items():
            output = FeatureAttributionOutput([sequence], info=AttributionInfo(model_name="made up"))
            arrays = (sequence.target_attributions, *sequence.step_scores.values())
            raw = sum(a.nbytes for a in arrays if a is not None)
            print(f"{name}: raw scores {raw / 1000:.1f} kB")
            for form in (".safetensors", ".json", ".json.gz"):
                path = Path(folder) / f"out{form}"
                started = time.process_time()
                save_attributions(output, path, overwrite=True)
                saved = time.process_time()
                load_attributions(path)
                loaded = time.process_time()
                print(
                    f"  {form:13} {path.stat().st_size / raw:5.2f} x raw,"
                    f" saved in {1000 * (saved - started):.1f} ms,"
                    f" loaded in {1000 * (loaded - saved):.1f} ms"
                )
            before = cpu()
            subprocess.run(
                [sys.executable, "-c", SHOW, str(Path(folder) / "out.json.gz")],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            print(f"  python, import inseq, load and show without torch: {cpu() - before:.2f} s of CPU")
    large = result(64, 64, 768)
    started = time.process_time()
    for _ in range(10):
        large.aggregate()
    print(f"aggregating (128, 64, 768): {100 * (time.process_time() - started):.1f} ms each")


if __name__ == "__main__":
    main()
