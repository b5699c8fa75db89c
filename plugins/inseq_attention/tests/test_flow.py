"""Flow through small graphs that can be solved by eye."""

from __future__ import annotations

import numpy as np
import pytest

from inseq_attention.flow import LayerGraph


def test_one_layer_lets_through_what_its_edge_can_carry() -> None:
    """There is one way only: the flow is the share itself."""
    graph = LayerGraph()
    graph.add_self("decoder", np.array([[1.0, 0.0], [0.3, 0.7]]))

    assert graph.flow("decoder", 0, 1) == pytest.approx(0.3, abs=1e-8)
    assert graph.flow("decoder", 1, 1) == pytest.approx(0.7, abs=1e-8)
    assert graph.flow("decoder", 1, 0) == 0


def test_two_layers_add_up_what_each_way_can_carry() -> None:
    """From token 0 to position 1: over 0 at most 0.4, over 1 at most min(0.3, 0.6)."""
    graph = LayerGraph()
    graph.add_self("decoder", np.array([[1.0, 0.0], [0.3, 0.7]]))
    graph.add_self("decoder", np.array([[1.0, 0.0], [0.4, 0.6]]))

    assert graph.flow("decoder", 0, 1) == pytest.approx(0.7, abs=1e-8)
    assert graph.flow("decoder", 1, 1) == pytest.approx(0.6, abs=1e-8)


def test_the_source_comes_in_through_cross_attention() -> None:
    """Source token 0 gives 0.2 of encoder position 1; the decoder takes 0.5 · (0.9, 0.1) of the encoder."""
    graph = LayerGraph()
    graph.add_self("encoder", np.array([[1.0, 0.0], [0.2, 0.8]]))
    graph.add_self("decoder", np.array([[1.0]]))
    graph.add_cross(np.array([[0.45, 0.05]]), np.array([0.5]))

    assert graph.flow("encoder", 0, 0) == pytest.approx(0.45 + 0.05, abs=1e-8)
    assert graph.flow("encoder", 1, 0) == pytest.approx(0.05, abs=1e-8)
    assert graph.flow("decoder", 0, 0) == pytest.approx(0.5, abs=1e-8)
