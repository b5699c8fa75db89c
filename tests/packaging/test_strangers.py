"""Plugins from outside of this repository, as wheels in a fresh environment next to built wheels of ours.

One that works is found, used, shown and gone when it is uninstalled. Those that are broken are isolated, named with
their distributions, and of no consequence for anything else.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest
from support.environments import attempt, build, closure_of, make_environment, pip, run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OURS = ("inseq_core", "inseq_hf", "inseq_captum", "plugins/inseq_demo")

SOUND = """
    import attrs
    import inseq_core as ic
    import numpy as np

    @attrs.frozen(kw_only=True)
    class Masked:
        '''What a score loses with each token.

        Args:
            sign: 1.0 or -1.0.
        '''

        sign: float = attrs.field(default=1.0, validator=attrs.validators.in_((1.0, -1.0)))

        def attribute(self, ctx):
            n = len(ctx.features)
            scores = ctx.removal_scores(np.vstack([np.ones(n, dtype=bool), ~np.eye(n, dtype=bool)]))
            return ctx.feature_output(self.sign * (scores[:1] - scores[1:]).T)

    @ic.hookimpl
    def inseq_attribution_methods():
        yield ic.MethodSpec(
            name="acme_method", factory=Masked, summary="A method that nobody here has heard of.",
            paper="https://example.org", per_text=True,
        )
    """

RAISES = """
    raise RuntimeError("no luck today")
    """

MISSPELT = """
    import inseq_core as ic

    @ic.hookimpl
    def inseq_atribution_methods():
        yield None
    """

TAKEN = """
    import inseq_core as ic

    @ic.hookimpl
    def inseq_attribution_methods():
        yield ic.MethodSpec(name="saliency", factory="acme.method:Other", summary="Another saliency.")
    """

NEWER = """
    import inseq_core as ic

    @ic.hookimpl
    def inseq_dreams():
        yield None
    """

NEWER_ARGUMENT = """
    import inseq_core as ic

    @ic.hookimpl
    def inseq_before_attribute(request, budget):
        pass
    """

BROKEN = {
    "acme-raises": (RAISES, "RuntimeError: no luck today"),
    "acme-misspelt": (MISSPELT, "did you mean 'inseq_attribution_methods'?"),
    "acme-newer": (NEWER, "no hook is named 'inseq_dreams'; misspelt, or written for a newer inseq-core"),
    "acme-newer-argument": (NEWER_ARGUMENT, "has another signature in this inseq-core"),
}
"""Distribution -> its plugin module, and what is said about it."""


def wheel(name: str, plugin: str, root: Path) -> Path:
    """A wheel of a distribution with one plugin module, version 3.2.1."""
    package = name.replace("-", "_")
    files = {
        "pyproject.toml": f"""
            [build-system]
            requires = ["hatchling"]
            build-backend = "hatchling.build"
            [project]
            name = "{name}"
            version = "3.2.1"
            dependencies = ["inseq-core"]
            [project.entry-points.inseq]
            {package} = "{package}.plugin"
            [tool.hatch.build.targets.wheel]
            packages = ["src/{package}"]
            """,
        f"src/{package}/__init__.py": "",
        f"src/{package}/plugin.py": plugin,
    }
    for path, text in files.items():
        (root / name / path).parent.mkdir(parents=True, exist_ok=True)
        (root / name / path).write_text(textwrap.dedent(text))
    (root / "wheels").mkdir(exist_ok=True)
    return build(root / name, "wheel", root / "wheels")


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The python of an environment with built wheels of ours, and links to what they need."""
    root = tmp_path_factory.mktemp("strangers")
    (root / "ours").mkdir()
    wheels = [build(ROOT / folder, "wheel", root / "ours") for folder in OURS]
    names = [Path(folder).name.replace("_", "-") for folder in OURS]
    python = make_environment(root / "environment", closure_of(*names, "torch"))
    pip(python, "install", "--no-index", "--no-deps", *wheels)
    return python


@pytest.fixture
def install(python, tmp_path):
    """Installs distributions for one test."""
    names: list[str] = []

    def install(**plugins: str) -> None:
        for name, source in plugins.items():
            names.append(name.replace("_", "-"))
            pip(python, "install", "--no-index", "--no-deps", wheel(names[-1], source, tmp_path))

    yield install
    pip(python, "uninstall", "--yes", *names)


def reports(python: Path, cwd: Path) -> dict[str, dict]:
    """Distribution -> what `inseq plugins` says about it."""
    code, output = attempt(python, "-W", "ignore", "-m", "inseq", "plugins", "--json", cwd=cwd)
    assert code == 0, output
    return {plugin["distribution"]: plugin for plugin in json.loads(output)}


USE = """
import inseq
model = inseq.load_model("demo-lm", "acme_method")
out = model.attribute("The capital of France is", generation_args={"max_new_tokens": 2}, sign=-1.0)
print(out[0].target_attributions.shape, out.info.method_distribution, out.info.method_version)
"""


def test_a_stranger_is_used_like_one_of_ours_and_gone_when_uninstalled(python, install, tmp_path):
    """From Python and the command line, with its provenance in the result; checked by the kit that it never saw."""
    install(acme_inseq=SOUND)

    assert reports(python, tmp_path)["acme-inseq"]["provides"] == {"methods": ["acme_method"]}
    assert run(python, "-W", "ignore", "-c", USE, cwd=tmp_path).split()[-2:] == ["acme-inseq", "3.2.1"]
    command = python.with_name("inseq")
    shown = run(
        command,
        "attribute",
        "-m",
        "demo-lm",
        "-a",
        "acme_method",
        "-i",
        "The capital of France is",
        cwd=tmp_path,
    )
    assert "acme_method" in shown
    assert "acme-inseq 3.2.1" in run(command, "explain", "acme_method", cwd=tmp_path)
    code, checked = attempt(command, "check", "acme_method", cwd=tmp_path, OMP_NUM_THREADS="1")
    assert code == 0, checked

    pip(python, "uninstall", "--yes", "acme-inseq")
    assert "acme-inseq" not in reports(python, tmp_path)
    code, said = attempt(
        command, "attribute", "-m", "demo-lm", "-a", "acme_method", "-i", "The capital", cwd=tmp_path
    )
    assert code != 0
    assert "No attribution method named 'acme_method'" in said


def test_broken_plugins_are_isolated_and_named(python, install, tmp_path):
    """All at once, beside one that works: nobody else's call may fail, and everybody hears who did."""
    install(acme_inseq=SOUND, **{name.replace("-", "_"): source for name, (source, _) in BROKEN.items()})

    found = reports(python, tmp_path)

    assert found["acme-inseq"]["status"] == "ready"
    assert all(found[name]["status"] == "ready" for name in ("inseq-core", "inseq-hf", "inseq-captum"))
    for name, (_, reason) in BROKEN.items():
        assert found[name]["status"] == "failed"
        assert reason in found[name]["failures"][0]["reason"]
    text = " ".join(run(python, "-W", "ignore", "-m", "inseq", "plugins", cwd=tmp_path).split())
    assert all(f"{name} 3.2.1" in text for name in BROKEN)
    assert run(python, "-W", "ignore", "-c", USE, cwd=tmp_path).split()[-2:] == ["acme-inseq", "3.2.1"]


def test_a_taken_name_is_nobodys_until_one_side_is_switched_off(python, install, tmp_path):
    """Never "the last one wins": the error names both distributions and the variable that decides."""
    install(acme_taken=TAKEN)
    program = "import inseq; print(inseq.load_model('demo-lm', 'saliency'))"

    code, said = attempt(python, "-W", "ignore", "-c", program, cwd=tmp_path)
    assert code != 0
    for part in ("acme-taken 3.2.1", "inseq-captum 0.1.0", "INSEQ_DISABLE_PLUGINS=acme_taken"):
        assert part in said
    other = program.replace("saliency", "input_x_gradient")
    assert "demo-lm" in run(python, "-W", "ignore", "-c", other, cwd=tmp_path)
    code, said = attempt(
        python, "-W", "ignore", "-c", program, cwd=tmp_path, INSEQ_DISABLE_PLUGINS="acme_taken"
    )
    assert code == 0, said


SAVED = """
import inseq
from inseq_core.testing.toys import BagModel
model = inseq.AttributionModel(BagModel(is_encoder_decoder=True), "occlusion")
model.attribute(["the dog sees a cat"], step_scores=["probability"]).save("result.json")
"""

LOOKED_AT = """
import sys
import inseq
out = inseq.load_attributions("result.json")
out.aggregate("words").show()
page = out.show(display=False, return_html=True)
print(len(page) > 1000, "dog" in page, [m for m in ("torch", "transformers") if m in sys.modules])
"""


@pytest.fixture(scope="module")
def core_alone(tmp_path_factory) -> Path:
    """The python of an environment that has inseq-core and what it requires, and nothing else."""
    root = tmp_path_factory.mktemp("core")
    (root / "ours").mkdir()
    python = make_environment(root / "environment", closure_of("inseq-core"))
    pip(python, "install", "--no-index", "--no-deps", build(ROOT / "inseq_core", "wheel", root / "ours"))
    return python


def test_the_core_alone_loads_aggregates_and_shows_what_was_saved_elsewhere(core_alone, tmp_path):
    """Results are looked at on machines that could not have made them."""
    run(sys.executable, "-W", "ignore", "-c", SAVED, cwd=tmp_path)

    shown = run(core_alone, "-c", LOOKED_AT, cwd=tmp_path)

    assert "True True []" in shown
    assert "probability" in shown


def test_the_core_alone_says_what_to_install_to_run_a_model(core_alone, tmp_path):
    """Listing works, running needs a framework: the next command to type is in the error."""
    command = core_alone.with_name("inseq")

    assert "dummy" in run(command, "list", "methods", cwd=tmp_path)
    code, said = attempt(command, "attribute", "-m", "gpt2", "-a", "dummy", "-i", "Hello", cwd=tmp_path)
    assert code == 1
    assert "pip install inseq-hf" in said
    code, said = attempt(command, "attribute", "-m", "gpt2", "-a", "saliency", "-i", "Hello", cwd=tmp_path)
    assert code != 0
    assert "pip install inseq-captum" in said


def test_the_conformance_kit_runs_without_torch(core_alone, tmp_path):
    """A framework that is not torch, and methods for it, are checked where there is no torch."""
    program = (
        "from inseq_core.testing import run_checks, check_model_adapter\n"
        "from inseq_core.testing.toys import BagModel\n"
        "check_model_adapter(BagModel())\n"
        "print(run_checks('probability').passed, run_checks('scores').passed, run_checks('html').passed)"
    )

    assert run(core_alone, "-W", "ignore", "-c", program, cwd=tmp_path).split() == ["True", "True", "True"]
