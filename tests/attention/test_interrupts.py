"""An interrupt wherever it comes: between a change and the block that undoes it, and in the middle of the undoing."""

from __future__ import annotations

import gc

import pytest
import torch
from support.hf_adapters import tiny_adapter
from torch import nn

from inseq_core.errors import ModelChangedWarning
from inseq_core.torch.as_found import FunctionMode, as_found


class Passing(FunctionMode):
    """A mode that changes nothing."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def put_on_a_mode(model: nn.Module) -> None:
    """As behind an interrupt in a pass: torch calls no hook that would leave it."""
    Passing().__enter__()


def take_off_a_mode(model: nn.Module) -> None:
    """As inside torch's own functions, which take modes off the stack for a moment."""
    torch.overrides._pop_mode()


def leave_a_block_open(model: nn.Module) -> None:
    """As between the beginning of a block and its entry in the ``with``: it ends with the traceback."""
    opened = torch.overrides._pop_mode_temporarily()
    opened.__enter__()
    raise KeyboardInterrupt


def leave_a_hook(model: nn.Module) -> None:
    """As between the registration of a hook and the block that removes it."""
    model.lm_head.register_forward_hook(lambda *_: None, always_call=True)
    model.lm_head.register_forward_pre_hook(lambda *_: None, with_kwargs=True)


def leave_a_forward(model: nn.Module) -> None:
    """As while a module is passed over."""
    model.lm_head.forward = lambda x: x


def leave_parameters_frozen(model: nn.Module) -> None:
    """As in the middle of their thawing."""
    next(model.parameters()).requires_grad_(False)


def leave_gradients_off(model: nn.Module) -> None:
    """As at the end of ``torch.no_grad``."""
    torch.set_grad_enabled(False)


@pytest.mark.parametrize(
    "change",
    [
        put_on_a_mode,
        take_off_a_mode,
        leave_a_block_open,
        leave_a_hook,
        leave_a_forward,
        leave_parameters_frozen,
        leave_gradients_off,
    ],
)
def test_what_an_interrupt_left_is_put_back(change) -> None:
    """A model that was interrupted once must not give other numbers, or none, for the rest of the session."""
    model = tiny_adapter("llama").model
    outer = Passing()
    own = model.lm_head.register_forward_hook(lambda *_: None)
    with outer:
        with pytest.raises(KeyboardInterrupt), as_found(model.modules(), model.parameters()):
            change(model)
            raise KeyboardInterrupt
        gc.collect()  # the traceback is gone
        modes = torch.overrides._get_current_function_mode_stack()
        assert len(modes) == 1 and modes[0] is outer
    own_hooks = {own.id}
    assert set(model.lm_head._forward_hooks) == own_hooks
    own.remove()
    assert not model.lm_head._forward_pre_hooks and not model.lm_head._forward_hooks_always_called
    assert "forward" not in vars(model.lm_head)
    assert all(p.requires_grad for p in model.parameters()) and torch.is_grad_enabled()


def test_a_mode_that_is_gone_already_is_not_left_twice() -> None:
    """Leaving it would take another's place, or fail with an error that hides the interrupt."""
    with Passing() as outer:
        with Passing():
            torch.overrides._pop_mode()
        assert torch.overrides._get_current_function_mode() is outer


def leave_kernels_of_attention_off(model: nn.Module) -> None:
    """As at the end of ``sdpa_kernel``."""
    torch.backends.cuda.enable_flash_sdp(False)


def leave_a_seed(model: nn.Module) -> None:
    """As at the end of ``fork_rng``."""
    torch.manual_seed(7)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (leave_kernels_of_attention_off, torch.backends.cuda.flash_sdp_enabled),
        (leave_a_seed, lambda: torch.get_rng_state().tolist()),
    ],
)
def test_settings_of_torch_are_put_back_behind_an_interrupt(change, state) -> None:
    """They hold for the whole process."""
    model, before = tiny_adapter("llama").model, state()
    with pytest.raises(KeyboardInterrupt), as_found(model.modules(), model.parameters()):
        change(model)
        raise KeyboardInterrupt
    assert state() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (leave_a_hook, "a hook on Linear"),
        (leave_a_forward, "another forward of Linear"),
        (put_on_a_mode, "a torch function mode"),
        (leave_parameters_frozen, "requires_grad of a parameter"),
        (leave_kernels_of_attention_off, "a setting of torch"),
    ],
)
def test_what_a_plugin_that_ended_well_left_is_put_back_and_said(change, said) -> None:
    """Later results would be others, in silence."""
    model = tiny_adapter("llama").model
    with pytest.warns(ModelChangedWarning, match=said), as_found(model.modules(), model.parameters()):
        change(model)
    assert not model.lm_head._forward_hooks and "forward" not in vars(model.lm_head)
    assert not torch.overrides._get_current_function_mode_stack()
    assert torch.backends.cuda.flash_sdp_enabled() and all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("fails", [False, True])
def test_hooks_that_a_library_puts_on_when_it_first_needs_them_stay(fails, recwarn) -> None:
    """transformers remembers that they are there: without them it would capture nothing any more."""
    adapter = tiny_adapter("llama")
    model = adapter.model
    ids = torch.tensor([[1, 2, 3]])
    try:
        with adapter.attributing():
            model(ids, output_hidden_states=True)
            if fails:
                raise ValueError
    except ValueError:
        pass
    assert len(model(ids, output_hidden_states=True).hidden_states) > 1
    assert not [w for w in recwarn if issubclass(w.category, ModelChangedWarning)]
