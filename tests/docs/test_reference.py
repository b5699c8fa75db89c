"""What the pages say about the code is what the code says."""

from __future__ import annotations

import inspect
import re
import sys

import attrs
import pytest
from support.documents import DOCS, ROOT, blocks, documents

import inseq
import inseq_core as ic
from inseq_core import errors
from inseq_core.hooks import HOOKS, KINDS, PluginHost, get_host, hookspecs, use_host
from inseq_core.hooks.parameters import parameters_of

sys.path.insert(0, str(DOCS))
try:
    from reference_source import pages
    from reference_source.markdown import prose
finally:
    sys.path.remove(str(DOCS))

HOOKS_PAGE = (DOCS / "hooks.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The reference pages, of what is installed and nothing else."""
    with use_host(PluginHost()):
        return pages()


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hooks_signature_is_a_heading(hook):
    """A hook that changes has to change on its page."""
    signature = str(inspect.signature(getattr(hookspecs, hook))).replace("'", "")

    assert f"## `{hook}{signature}`\n" in HOOKS_PAGE


def test_the_hooks_page_has_no_hook_that_is_gone():
    """A heading that nothing implements."""
    assert set(re.findall(r"^## `(\w+)\(", HOOKS_PAGE, re.MULTILINE)) == set(HOOKS)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.hook], ids=lambda kind: kind.key)
def test_every_field_of_a_record_is_described_with_its_hook(kind):
    """A field that is not described is one that nobody sets."""
    section = re.search(rf"^## `{kind.hook}\(.*?(?=^## |\Z)", HOOKS_PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    described = re.sub(r"```.*?```", "", section[0], flags=re.DOTALL)

    assert [field.name for field in attrs.fields(kind.spec) if f"`{field.name}`" not in described] == []


def test_the_capabilities_are_on_the_hooks_page():
    """Plugin authors choose from them."""
    assert [one.name for one in ic.Capability if f"`{one.name}`" not in HOOKS_PAGE] == []


def test_every_method_is_on_its_page_with_all_that_is_known(made):
    """Paper, formula, cost, needs, parameters and when: what one needs to choose."""
    page = made["methods.md"]
    missing = []
    for entry in get_host().methods.entries():
        section = re.search(rf"^### `{entry.name}`$.*?(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
        assert section is not None, entry.name
        spec, text = entry.spec, " ".join(section[0].split())
        said = [prose(spec.summary), prose(spec.when), prose(spec.passes), " ".join(spec.formula.split())]
        said += [str(parameter) for parameter in parameters_of(entry.load())]
        missing += [f"{entry.name}: {part}" for part in said if part and " ".join(part.split()) not in text]

    assert missing == []


def test_every_method_says_where_it_comes_from_and_when_to_use_it():
    """A reference page can only say what a spec says. Families have no formula of their own, and ``dummy`` no source."""
    silent = [
        f"{entry.name}: {field}"
        for entry in get_host().methods.entries()
        for field in ("paper", "formula", "when")
        if not getattr(entry.spec, field)
        and not (field == "formula" and entry.spec.variants)
        and not (field != "when" and entry.spec.passes == "0")
    ]

    assert silent == []


@pytest.mark.parametrize(
    ("page", "key"),
    [("step-functions.md", "step_functions"), ("aggregators.md", "aggregators"), ("viewers.md", "viewers")],
)
def test_everything_registered_is_on_its_page(made, page, key):
    """With all its parameters."""
    for entry in get_host().registry(key).entries():
        assert f"### `{entry.name}`" in made[page]
        for parameter in parameters_of(entry.load()):
            assert f"- `{parameter.name}" in made[page]


def test_aggregation_functions_models_and_frameworks_are_on_their_pages(made):
    """They are rows of tables."""
    pages_of = {"aggregation_functions": "aggregators.md", "models": "models.md", "adapters": "models.md"}
    for key, page in pages_of.items():
        for name in get_host().registry(key).names():
            assert f"| `{name}` |" in made[page]


def test_every_command_is_on_its_page_with_its_options(made):
    """What ``--help`` says, on one page."""
    for entry in get_host().commands.entries():
        assert f"## `inseq {entry.name}`" in made["command-line.md"]
        for parameter in entry.load().params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert option in made["command-line.md"], f"{entry.name}: {option}"


def test_every_public_name_is_on_its_page(made):
    """What can be imported from ``inseq``, and every error that may come."""
    for name in set(inseq.__all__) - {"__version__", "InseqError"}:
        assert f"### `{name}`" in made["python.md"]
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, Exception):
            assert f"| `{name}` |" in made["errors.md"]


def test_packages_are_in_the_readmes_table():
    """Whoever looks for a package looks there first."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    projects = [*ROOT.glob("inseq_*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
    folders = [project.parent.relative_to(ROOT).as_posix() for project in projects]
    table = "\n".join(line for line in readme.splitlines() if line.startswith("|"))

    assert [folder for folder in folders if f"]({folder})" not in table] == []


def test_pictures_have_a_description_and_are_small():
    """Somebody cannot see them, somebody else pays for every byte."""
    for page in documents():
        for text, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            assert len(text) > 8, f"{page}: {target}"
            assert (page.parent / target).stat().st_size < 200_000


def test_the_first_python_block_of_the_readme_has_ten_lines():
    """As it says."""
    first = next(block for block in blocks(ROOT / "README.md") if block.language == "python")

    assert sum(bool(line.strip()) for line in first.text.splitlines()) <= 10


@pytest.mark.filterwarnings("ignore")  # of the libraries that build it
def test_the_site_builds_without_warnings(tmp_path, capsys):
    """Broken references and headings out of order are warnings of sphinx."""
    build = pytest.importorskip("sphinx.cmd.build")
    folders = ["-d", str(tmp_path / "trees"), str(DOCS), str(tmp_path / "html")]
    status = build.build_main(["-q", "-W", "--keep-going", *folders])

    assert status == 0, capsys.readouterr().err
    assert (tmp_path / "html" / "reference" / "methods.html").is_file()
