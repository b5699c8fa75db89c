"""Sequential and discretized integrated gradients."""

from __future__ import annotations

import io
import itertools
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from support.contexts import context_of, prefix_embeddings, prefix_score, tiny_context

from inseq_core.errors import InvalidArgumentError
from inseq_path_gradients.discretized import DiscretizedIntegratedGradients, monotonic
from inseq_path_gradients.neighbours import NeighbourGraph
from inseq_path_gradients.parameters import QUADRATURES, path_nodes
from inseq_path_gradients.sequential import SequentialIntegratedGradients, without


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests keep their graphs to themselves."""
    monkeypatch.setenv("INSEQ_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["gpt2", "marian", "t5"])
def test_a_tokens_sequential_score_sums_to_the_effect_of_its_absence(name: str) -> None:
    """The path of a token runs from the text without it to the text: leave-one-out is the closed form of the
    sum.
    """
    ctx = tiny_context(name, (("The developer", " argued"),))
    found = SequentialIntegratedGradients(n_steps=48).attribute(ctx)
    shift, full = ctx.inputs - ctx.baseline(), ctx.scores()

    for side in ("source", "target"):
        scores = getattr(found, side)
        if scores is None:
            continue
        for position in range(scores.shape[1]):
            absent = ctx.scores(without(ctx.inputs, shift, side, position, 1.0))
            torch.testing.assert_close(scores[:, position].sum(-1), full - absent, rtol=0.02, atol=1e-4)


def test_sequential_scores_equal_a_slow_loop_over_prefixes() -> None:
    """One token's path on one step's own prefix, by plain calls of the model."""
    ctx = tiny_context("gpt2", (("The developer", " argued"),))
    found = SequentialIntegratedGradients(n_steps=4).attribute(ctx)
    points, weights = np.polynomial.legendre.leggauss(4)
    row = ctx.n_rows - 1
    (text,) = prefix_embeddings(ctx, row)
    baseline = ctx.baseline().target[:1, : text.shape[1]]
    for position in (1, 2):
        expected = torch.zeros_like(text[0, 0])
        for point, weight in zip(points, weights, strict=True):
            at = text.clone()
            alpha = (point + 1) / 2
            at[0, position] = baseline[0, position] + alpha * (text - baseline)[0, position]
            at.requires_grad_()
            (gradient,) = torch.autograd.grad(prefix_score(ctx, row)([at]), at)
            expected += weight / 2 * gradient[0, position]
        expected = expected * (text - baseline)[0, position]
        torch.testing.assert_close(found.target[row, position], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["greedy", "maxcount"])
@pytest.mark.parametrize("name", ["gpt2", "marian"])
def test_discretized_paths_go_from_baseline_to_input_and_never_turn_back(name: str, method: str) -> None:
    """Every coordinate is monotonic: that is what lets the sum be read as a path integral."""
    ctx = tiny_context(name)
    path = DiscretizedIntegratedGradients(n_steps=6, method=method, n_neighbors=8)._path(ctx)

    for side in ("source", "target"):
        if getattr(ctx.inputs, side) is None:
            continue
        points = torch.stack([getattr(p, side) for p in path])
        moves, whole = points[1:] - points[:-1], points[-1] - points[0]
        torch.testing.assert_close(points[-1], getattr(ctx.inputs, side))
        torch.testing.assert_close(points[0], getattr(ctx.baseline(), side))
        assert (moves * whole >= -1e-12).all()


def test_points_of_a_path_are_near_real_words() -> None:
    """Where a word is inside the box in every dimension it is taken as it is."""
    here, end = torch.tensor([[[0.0, 0.0]]]), torch.tensor([4.0, 4.0])
    candidates = torch.tensor([[[1.0, 3.0], [2.0, -1.0]]])

    moved, is_inside = monotonic(here, end, candidates, 4)

    torch.testing.assert_close(moved, torch.tensor([[[1.0, 3.0], [2.0, 1.0]]]))
    assert is_inside.tolist() == [[[True, True], [True, False]]]


def test_discretized_scores_are_the_papers_sum() -> None:
    """Σ gradient(w_k) · (w_{k+1} - w_k), by autograd on one step's prefix."""
    ctx = tiny_context("gpt2", (("The developer", " argued"),))
    method = DiscretizedIntegratedGradients(n_steps=3, n_neighbors=8)
    found = method.attribute(ctx)
    row = ctx.n_rows - 1
    length = int(ctx.grid.position[row])
    path = [p.target[:1, :length] for p in method._path(ctx)]
    expected = torch.zeros_like(path[0])
    for here, there in itertools.pairwise(path):
        at = here.clone().requires_grad_()
        expected += torch.autograd.grad(prefix_score(ctx, row)([at]), at)[0] * (there - here)

    torch.testing.assert_close(found.target[row, :length], expected[0], rtol=0, atol=1e-12)


def test_a_text_has_the_same_path_alone_and_in_a_batch() -> None:
    """Words walk, not texts."""
    ctx = tiny_context("gpt2")
    method = DiscretizedIntegratedGradients(n_steps=3, n_neighbors=8)
    rows = ctx.grid.rows_of(1)
    positions = ctx.grid.position[rows]
    alone = context_of(
        ctx.adapter, ctx.batch.texts[1:], spans=[(int(positions.min()), int(positions.max()) + 1)]
    )

    single = method.attribute(alone).target

    torch.testing.assert_close(
        single, method.attribute(ctx).target[rows][:, : single.shape[1]], rtol=0, atol=1e-12
    )


def test_neighbours_are_the_nearest_by_brute_force(tmp_path: Path) -> None:
    """And the same when they come back from the file."""
    embeddings = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    graph = NeighbourGraph(embeddings, 3, tmp_path)
    distances = torch.cdist(embeddings.double(), embeddings.double()).fill_diagonal_(float("inf"))

    found = graph.of(np.array([7, 0, 7]))
    again = NeighbourGraph(embeddings, 3, tmp_path)

    expected = distances.argsort(dim=1)[:, :3].numpy()
    np.testing.assert_array_equal(found, expected[[7, 0, 7]])
    again._load()
    assert set(again._rows) == {0, 7}


def archive(save=np.savez, **arrays: np.ndarray) -> bytes:
    """What numpy writes of these."""
    content = io.BytesIO()
    save(content, **arrays)
    return content.getvalue()


def badly_deflated() -> bytes:
    """An archive whose compressed bytes are none."""
    content = archive(np.savez_compressed, tokens=np.arange(5), neighbours=np.zeros((5, 3), dtype=np.int64))
    return content[:60] + b"\xff" * 30 + content[90:]


def of_other_things() -> bytes:
    """An archive of the right names that holds no arrays."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("tokens", "x")
        file.writestr("neighbours", "x")
    return content.getvalue()


def one_array() -> bytes:
    """The form without an archive."""
    content = io.BytesIO()
    np.save(content, np.arange(3))
    return content.getvalue()


@pytest.mark.parametrize(
    "damage",
    [b"", b"not an archive", b"PK\x03\x04broken", badly_deflated(), of_other_things(), one_array()],
    ids=["empty", "text", "broken", "badly deflated", "no arrays", "one array"],
)
def test_a_damaged_graph_file_is_made_again(tmp_path: Path, damage: bytes) -> None:
    """A cache must never be able to stop or to change a result."""
    embeddings = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    graph = NeighbourGraph(embeddings, 3, tmp_path)
    expected = graph.of(np.arange(5))
    graph.path.write_bytes(damage)

    np.testing.assert_array_equal(NeighbourGraph(embeddings, 3, tmp_path).of(np.arange(5)), expected)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_full_disk_does_without_the_graph_file_and_leaves_nothing(tmp_path: Path) -> None:
    """Every run left another half of one, until nothing else had a place."""
    import resource

    embeddings = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    expected = NeighbourGraph(embeddings, 3).of(np.arange(5))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        found = NeighbourGraph(embeddings, 3, tmp_path).of(np.arange(5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    np.testing.assert_array_equal(found, expected)
    assert not list(tmp_path.iterdir())


def test_an_interrupt_while_the_graph_file_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever presses Ctrl-C does so again."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        NeighbourGraph(torch.eye(9), 3, tmp_path).of(np.arange(5))

    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_looked_into_is_done_without(tmp_path: Path) -> None:
    """One of somebody else's, say; here a name that no folder can have."""
    graph = NeighbourGraph(torch.eye(9), 3, tmp_path / ("x" * 300))

    assert graph.of(np.arange(5)).shape == (5, 3)


def test_a_pickled_graph_file_is_not_executed(tmp_path: Path) -> None:
    """The cache is plain arrays, also when somebody puts something else there."""
    embeddings = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    graph = NeighbourGraph(embeddings, 3, tmp_path)
    expected = graph.of(np.arange(5))
    np.savez(
        graph.path.with_suffix(""), tokens=np.array([{"a": 1}], dtype=object), neighbours=np.zeros((1, 3))
    )

    np.testing.assert_array_equal(NeighbourGraph(embeddings, 3, tmp_path).of(np.arange(5)), expected)


def test_other_embeddings_have_another_file(tmp_path: Path) -> None:
    """The key contains their hash."""
    a, b = (
        NeighbourGraph(torch.randn(9, 2, generator=torch.Generator().manual_seed(s)), 3, tmp_path)
        for s in (0, 1)
    )

    assert a.path != b.path


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"n_steps": 0}, "n_steps"),
        ({"method": "random"}, "greedy, maxcount"),
        ({"n_neighbors": 0}, "n_neighbors"),
    ],
)
def test_parameters_are_checked_when_the_method_is_made(parameters: dict, says: str) -> None:
    """Before any model work."""
    with pytest.raises(ValueError, match=says):
        DiscretizedIntegratedGradients(**parameters)


def test_a_baseline_that_is_no_word_is_refused() -> None:
    """A path through words must end at one."""
    with pytest.raises(InvalidArgumentError, match="no word"):
        DiscretizedIntegratedGradients(baseline="zero")


@pytest.mark.parametrize("rule", QUADRATURES)
def test_every_quadrature_integrates_a_line_as_well_as_it_can(rule: str) -> None:
    """Weights sum to one; the integral of x is a half, but for the half step that one-sided sums are off by."""
    for n in (1, 2, 7):
        points, weights = path_nodes(rule, n)
        assert weights.sum() == pytest.approx(1)
        off = {"riemann_left": -0.5 / n, "riemann_right": 0.5 / n}.get(rule, 0)
        assert (points * weights).sum() == pytest.approx(0.5 + off)


def test_sequential_scores_of_another_quadrature_are_its_sum() -> None:
    """A token's score is the weighted mean of its own gradients on its own path, here by the right-hand rule."""
    ctx = tiny_context("gpt2", (("A dog", " and"),))
    found = SequentialIntegratedGradients(n_steps=2, method="riemann_right").attribute(ctx)

    shift = ctx.inputs - ctx.baseline()
    for position in range(ctx.inputs.target.shape[1]):
        moved = ctx.inputs.target.clone()
        moved[:, position] -= 0.5 * shift.target[:, position]
        gradients = [
            ctx.step_gradients(ctx.inputs.with_sides((x,))).target for x in (moved, ctx.inputs.target)
        ]
        expected = sum(gradients)[:, position] / 2 * shift.target[:, position]
        torch.testing.assert_close(found.target[:, position], expected, rtol=0, atol=1e-12)
