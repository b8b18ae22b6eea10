"""The optimizer of all trainers."""

import inspect
from typing import Any

import torch


def _plain(name: str) -> Any:
    """A method of torch's Adam without its wrappers, which load torch's compiler to be left alone by it."""
    return inspect.unwrap(getattr(torch.optim.Adam, name))


class Adam(torch.optim.Adam):
    """Kingma & Ba 2015, torch's own to the bit. That one loads torch's compiler when it is made, which takes longer
    than all else before the first step of a training; nothing here is compiled by it."""

    step = torch.no_grad()(_plain("step"))
    zero_grad, add_param_group = _plain("zero_grad"), _plain("add_param_group")
    state_dict, load_state_dict = _plain("state_dict"), _plain("load_state_dict")
