"""Low-rank adapters: nothing changes at first, only they learn, and they vanish into the exported weights."""

from __future__ import annotations

import torch

from samphony.train.initial import initial_model
from samphony.train.lora import add_adapters, merged
from samphony.train.recipe import load_recipe
from tests.train.conftest import miniature


def _answer(model: torch.nn.Module) -> torch.Tensor:
    x = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(1))
    memory = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return model.memory_attention(x, memory)


def test_adapters_start_as_nothing_and_alone_learn() -> None:
    plain, adapted = miniature().eval(), miniature().eval()
    assert add_adapters(adapted, 2) > 20
    # Not to the bit: plain layers take shorter ways that adapted ones cannot.
    torch.testing.assert_close(_answer(plain), _answer(adapted), rtol=1e-5, atol=1e-5)
    names = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert names
    assert all(name.endswith((".0.a", ".0.b")) for name in names)


def test_processes_of_a_run_start_with_the_same_adapters() -> None:
    recipe = load_recipe(None, ["init=random", "lora=2", "stages=[{size=64}]"])
    torch.manual_seed(1)
    one = initial_model(recipe).state_dict()
    torch.manual_seed(2)
    two = initial_model(recipe).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_merged_weights_give_the_adapted_answer_in_the_plain_model() -> None:
    adapted = miniature().eval()
    add_adapters(adapted, 2)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if name.endswith(".0.b"):
                p.normal_(0, 0.1)
    plain = miniature().eval()
    before = _answer(plain)
    plain.load_state_dict(merged(adapted.state_dict()), strict=True)
    torch.testing.assert_close(_answer(plain), _answer(adapted))
    assert not torch.allclose(before, _answer(plain))


def test_a_state_without_adapters_is_unchanged() -> None:
    state = miniature().state_dict()
    same = merged(state)
    assert same.keys() == state.keys()
    assert all(same[k] is state[k] for k in state)
