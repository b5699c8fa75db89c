"""One side of a comparison: a process that runs cases and says what they cost. Works with inseq and with its
peer.

Reads one JSON case a line from standard input, writes one JSON answer a line to standard output: CPU seconds,
wall seconds, extra peak memory, and the scores as nested lists.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import time
import warnings

warnings.simplefilter("ignore")


def peak_memory() -> int:
    """Peak resident bytes since the last reset (Linux)."""
    with open("/proc/self/status") as status:
        line = next(x for x in status if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def reset_peak() -> int:
    """Start a new peak, with what earlier cases freed given back; the resident bytes now."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except OSError:
        pass
    try:
        with open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")
    except OSError:
        pass
    return peak_memory()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints does not mix with the answers
    import torch

    torch.set_num_threads(int(os.environ.get("BENCH_THREADS", "1")))
    import inseq

    models: dict[str, object] = {}
    for line in sys.stdin:
        case = json.loads(line)
        if case["path"] not in models:
            models[case["path"]] = inseq.load_model(case["path"], case["method"])
        model = models[case["path"]]
        arguments = dict(case.get("arguments", {}))
        before = reset_peak()
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            out = model.attribute(
                case["inputs"], case["outputs"], method=case["method"], show_progress=False, **arguments
            )
        except Exception as error:  # the answer says so; the comparison goes on
            print(json.dumps({"error": f"{type(error).__name__}: {error}"[:300]}), file=answers, flush=True)
            continue
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        answer = {"cpu": cpu, "wall": wall, "memory": max(peak_memory() - before, 0)}
        if case.get("scores"):
            answer["scores"] = [scores_of(s) for s in out.sequence_attributions]
        print(json.dumps(answer), file=answers, flush=True)


def scores_of(sequence: object) -> dict[str, object]:
    """Aggregated-to-one-number scores of a sequence: the Euclidean norm over whatever axes a method
    leaves.
    """
    found = {}
    for side in ("source_attributions", "target_attributions"):
        values = getattr(sequence, side)
        if values is None:
            continue
        values = values.numpy() if hasattr(values, "numpy") else values
        while values.ndim > 2:
            values = (values.astype("float64") ** 2).sum(-1) ** 0.5
        found[side] = [[None if v != v else float(v) for v in row] for row in values]
    found["step_scores"] = {k: [float(x) for x in v] for k, v in sequence.step_scores.items()}
    return found


if __name__ == "__main__":
    main()
