"""A forward pass recorded for many cotangents.

Autograd records every function that a model calls, each with a backward pass for one cotangent. A few kinds of function make up
nearly all of a transformer; while a pass runs inside ``Recording``, these get nodes that know about several cotangents and how
far each reaches: products with weight matrices and what is elementwise between them (``products``), layer normalisation (``norms``)
and attention (``attention_node``). Values are those of the model's own calls; what is not known here keeps its ordinary node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from inseq_core.torch import attention_node, elementwise, norms, products
from inseq_core.torch.as_found import FunctionMode
from inseq_core.torch.reach import Route


class Recording(FunctionMode):
    """The functions of one forward pass, and the route that cotangents take back through them."""

    def __init__(self) -> None:
        super().__init__()
        self.route = Route()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """``func``, with a node of ours where it is of a kind that has one."""
        kwargs = kwargs or {}
        if torch.is_grad_enabled():
            if func in products.VIEWS:
                return products.viewed(func, args, kwargs)
            if func in products.PRODUCTS:
                found = products.recorded(self.route, func, args, kwargs)
            elif func is F.scaled_dot_product_attention:
                found = attention_node.recorded(self.route, func, args, kwargs)
            elif func in norms.FUNCTIONS:
                found = norms.recorded(self.route, func, args, kwargs)
            elif func in elementwise.FUNCTIONS:
                return elementwise.recorded(func, args, kwargs, products.is_product)
            else:
                return func(*args, **kwargs)
            if found is not None:
                return found
        return func(*args, **kwargs)
