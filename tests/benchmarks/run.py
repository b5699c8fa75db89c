"""Our own figures: start-up times, each method on a small model, and all-steps gradients against the machine's limit.

    make bench
    .venv/bin/python tests/benchmarks/run.py --only limit

Figures are CPU seconds of this process (medians), but for start-up, which is wall time of whole processes.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from compare import machine
from models import make, texts

ROOT = Path(__file__).resolve().parents[2]
STARTS = {
    "python -c 'pass'": ["-c", "pass"],
    "import inseq": ["-c", "import inseq"],
    "inseq -h": ["-m", "inseq", "-h"],
    "inseq list methods": ["-m", "inseq", "list", "methods"],
}
METHODS = (
    ("saliency", {}),
    ("integrated_gradients", {"n_steps": 20}),
    ("gradient_shap", {}),
    ("deeplift", {}),
    ("occlusion", {}),
    ("lime", {}),
    ("attention", {}),
    ("value_zeroing", {}),
)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds, after one run that warms up."""
    work()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


def starts(repeats: int) -> None:
    """Wall time of whole processes."""
    print("| start-up | seconds |\n|---|---|")
    for label, arguments in STARTS.items():
        found = []
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            found.append(time.perf_counter() - begin)
        print(f"| `{label}` | {statistics.median(found[1:]):.2f} |")
    print()


def methods(folder: Path, repeats: int) -> None:
    """Each method on the tiny model, 16 prompt and 16 generated tokens."""
    import inseq

    model = inseq.load_model(str(make("tiny", folder)))
    inputs, outputs = texts("tiny", 16, 16)
    print("| method, tiny 16/16 | CPU s |\n|---|---|")
    for name, arguments in METHODS:
        if name in inseq.list_feature_attribution_methods():
            cost = seconds(
                lambda name=name, arguments=arguments: model.attribute(
                    inputs, outputs, method=name, show_progress=False, **arguments
                ),
                repeats,
            )
            print(f"| {name} | {cost:.3f} |", flush=True)
    print()


def matrix_rate(width: int, repeats: int) -> float:
    """FLOP/s of a (2048 × D) · (D × 4 D) product in float32, the shape of a batched backward pass."""
    import torch

    a, b = torch.randn(2048, width), torch.randn(width, 4 * width)
    times = 20
    cost = seconds(lambda: [a @ b for _ in range(times)], repeats)
    return 2 * 2048 * width * 4 * width * times / cost


def flops_of_gpt2(prompt: int, steps: int) -> float:
    """FLOPs that any exact way of all T gradients needs, T steps behind a prompt.

    Σ_t 2·P_body·t, t the prefix length of a step; one forward pass 2·P_body·L, and T rows of the head forward and backward
    4·V·D.
    """
    body, vocabulary, dim = 85_054_464, 50257, 768
    length = prompt + steps - 1
    backward = sum(2 * body * t for t in range(prompt, prompt + steps))
    return backward + 2 * body * length + 4 * steps * vocabulary * dim


def flops_of_marian(source: int, steps: int) -> float:
    """The same of an encoder and a decoder of 6 layers × 512, for the source's scores.

    Each step goes back through the decoder on its prefix (but for the first layer's self-attention, which hangs on no source)
    and, by the keys and values of cross-attention, through the whole encoder.
    """
    layers, dim, inner, vocabulary = 6, 512, 2048, 60000
    encoder = layers * (4 * dim * dim + 2 * dim * inner)
    across = layers * 2 * dim * dim
    decoder = layers * (6 * dim * dim + 2 * dim * inner)
    behind = decoder - 4 * dim * dim
    backward = sum(2 * behind * t + 2 * (encoder + across) * source for t in range(1, steps + 1))
    forward = 2 * (encoder + across) * source + 2 * decoder * steps
    return backward + forward + 4 * steps * vocabulary * dim


def limit(folder: Path, repeats: int) -> None:
    """Saliency at 64/64 against the FLOPs that any exact method needs, at the rate of the machine's matrix products."""
    import inseq

    print(
        "| saliency, 64/64 | CPU s | GFLOP/s of the machine | limit, s | ratio to the limit |\n|---|---|---|---|---|"
    )
    for name, width, flops in (
        ("gpt2", 768, flops_of_gpt2(64, 64)),
        ("marian", 512, flops_of_marian(65, 65)),
    ):
        model = inseq.load_model(str(make(name, folder)), "saliency")
        inputs, outputs = texts(name, 64, 64)
        cost = seconds(
            lambda model=model, inputs=inputs, outputs=outputs: model.attribute(
                inputs, outputs, show_progress=False
            ),
            repeats,
        )
        rate = matrix_rate(width, repeats)
        bound = flops / rate
        print(
            f"| {name} | {cost:.2f} | {rate / 1e9:.0f} | {bound:.2f} | **{cost / bound:.2f}** |", flush=True
        )
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=ROOT / ".bench" / "models")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", choices=["", "starts", "methods", "limit"])
    options = parser.parse_args()
    print(
        f"{machine()}, {options.threads} thread(s), {datetime.date.today()}, median of {options.repeats} runs\n"
    )
    if options.only in ("", "starts"):
        starts(options.repeats)
    import torch

    torch.set_num_threads(options.threads)
    if options.only in ("", "methods"):
        methods(options.models, options.repeats)
    if options.only in ("", "limit"):
        limit(options.models, options.repeats)


if __name__ == "__main__":
    main()
