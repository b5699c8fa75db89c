from __future__ import annotations

import threading

import torch
from support.hf_adapters import tiny_adapter

from inseq_core.torch import seams


def test_who_runs_the_model_meanwhile_gets_its_own_numbers():
    """A server may answer with the model that is being explained."""
    model = tiny_adapter("llama").model
    ids = torch.tensor([[1, 2, 3]])
    expected = model(ids).logits
    found = []
    first = torch.zeros(1, dtype=torch.long)
    with (
        seams.output_seam(model.get_input_embeddings(), torch.zeros(1, 3, model.config.hidden_size)) as tap,
        seams.head_seam(model.get_output_embeddings(), first, first, False) as head,
    ):
        thread = threading.Thread(target=lambda: found.append(model(ids).logits))
        thread.start()
        thread.join()
        assert tap.calls == head.calls == 0
        assert model(ids).logits.shape[0] == 1
    assert torch.equal(found[0], expected)
