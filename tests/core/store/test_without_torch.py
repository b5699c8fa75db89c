from __future__ import annotations

import subprocess
import sys
import textwrap

from support.results import decoder_only, output_of

from inseq_core.store import save_attributions


def test_a_saved_file_is_loaded_aggregated_and_shown_without_torch(tmp_path):
    """A laptop has neither torch nor a model library: importing one fails as if not installed."""
    for form in (".json.gz", ".safetensors"):
        save_attributions(output_of(decoder_only(hidden=4)), tmp_path / f"out{form}")
    program = f"""
        import sys

        class NotInstalled:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "transformers", "captum", "jax", "tensorflow"):
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, NotInstalled())
        import inseq

        for form in (".json.gz", ".safetensors"):
            out = inseq.load_attributions({str(tmp_path / "out")!r} + form)
            out.aggregate("subwords").show()
            out[0].get_scores_dicts()
            out.save({str(tmp_path / "again")!r} + form)
        print("shown", "torch" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:inseq_core.store", "-c", textwrap.dedent(program)],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=None,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("shown False")
