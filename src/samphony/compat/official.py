"""Official constructors for parts of the network, without a second network.

A class of ours is built from one configuration record. Packages that put a network together themselves, by hand or
through Hydra, call official constructors instead. Each class in ``backbone``, ``decoder``, ``memory`` and ``base`` adds
such a constructor to a class of ours and changes nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from samphony.errors import ConfigError


class Official(type):
    """Metaclass of those classes: whatever is an instance of ours is one of theirs.

    So ``isinstance(module, MultiScaleBlock)`` finds the blocks of every model, whoever built it. Classes that a package
    derives from them are ordinary ones.
    """

    def __instancecheck__(cls, instance: Any) -> bool:
        return super().__instancecheck__(instance) or isinstance(instance, cls._counterpart())

    def __subclasscheck__(cls, subclass: type) -> bool:
        return super().__subclasscheck__(subclass) or issubclass(subclass, cls._counterpart())

    def _counterpart(cls) -> tuple[type, ...]:
        return (cls.__bases__[0],) if cls.__module__.startswith("samphony.") else ()


def only(what: str, given: Any, supported: Any) -> None:
    """Refuse an argument whose only value in every released model is built in here."""
    if given != supported:
        raise ConfigError(f"{what}={given!r}: samphony supports {supported!r} only")


def as_function(activation: type[nn.Module] | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The function of an activation that is named by its class (``nn.GELU``)."""
    if activation is nn.ReLU:
        return F.relu
    if activation is nn.GELU:
        return F.gelu
    return activation() if isinstance(activation, type) else activation
