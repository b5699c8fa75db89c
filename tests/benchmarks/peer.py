"""Beside inseq 0.7.1: the same models, texts and arguments, interleaved in one run.

    make bench-peer                      every case
    .venv/bin/python tests/benchmarks/peer.py --only saliency --repeats 5

Makes a second environment for the peer (it has the same name, so it can never share one). Prints CPU seconds
of both (medians), their ratio, the memory each took beyond what was resident, and how far the scores are
apart.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from compare import CASES, Worker, largest_difference, machine, median
from models import make, texts

ROOT = Path(__file__).resolve().parents[2]


def peer_python(folder: Path) -> Path:
    """The interpreter of an environment that has the peer; made on first use."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        packages = ["torch==2.13.0", "transformers==5.23.0", "inseq==0.7.1"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, default=ROOT / ".bench" / "peer", help="environment of the peer")
    parser.add_argument(
        "--models", type=Path, default=ROOT / ".bench" / "models", help="where models are kept"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose line contains this")
    options = parser.parse_args()
    ours, theirs = (
        Worker(sys.executable, options.threads),
        Worker(str(peer_python(options.peer)), options.threads),
    )
    print(
        f"{machine()}, {options.threads} thread(s), {datetime.date.today()}, median of {options.repeats} "
        f"interleaved runs\n"
    )
    print("| model | method | prompt/generated | ours s | peer s | ratio | ours MB | peer MB | difference |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        if options.only not in case.label.replace(" ", ""):
            continue
        inputs, outputs = texts(case.model, case.prompt, case.generated, case.batch)
        call = {"path": str(make(case.model, options.models)), "method": case.method, "inputs": inputs,
                "outputs": outputs, "arguments": case.arguments, "scores": True}  # fmt: skip
        runs: tuple[list, list] = ([], [])
        for repeat in range(options.repeats + 1):
            for worker, kept in zip((ours, theirs), runs, strict=True):
                answer = worker.run(call)
                if repeat:  # the first run of a case warms up
                    kept.append(answer)
        failed = [a["error"] for kept in runs for a in kept if "error" in a]
        if failed:
            print(f"| {case.label} | {failed[0]} |", flush=True)
            continue
        cpu = [median(kept, "cpu") for kept in runs]
        memory = [median(kept, "memory") / 1e6 for kept in runs]
        difference = largest_difference(runs[0][-1], runs[1][-1])
        print(
            f"| {case.label} | {cpu[0]:.3f} | {cpu[1]:.3f} | **{cpu[1] / cpu[0]:.1f}** | {memory[0]:.0f} | "
            f"{memory[1]:.0f} | "
            f"{difference:.1e} |",
            flush=True,
        )
    ours.close()
    theirs.close()


if __name__ == "__main__":
    main()
