"""Models of a few thousand weights: a LLaMA, one with mixtures of experts, one of each family."""

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP

from bench.sources.families import FAMILIES

INTEGERS = {2: torch.int16, 4: torch.int32}


def bits_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict as integers of the same bits: zeros of either sign differ, as do NaNs."""
    return {name: t.view(INTEGERS[t.itemsize]) for name, t in model.state_dict().items()}


def tiny_family(name: str, **changes):
    """The stand-in for a family of models, in bfloat16, without its tokenizer.

    Args:
        name: of the family.
        **changes: of its configuration.
    """
    torch.manual_seed(0)
    family = FAMILIES[name]
    tokens = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(family.model_type, **tokens | family.settings | changes)
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def tiny_llama(**changes) -> LlamaForCausalLM:
    """Two blocks whose layers have 16 or 24 inputs, in float32; always the same one.

    Args:
        **changes: of its configuration.
    """
    torch.manual_seed(0)
    small = {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    return LlamaForCausalLM(LlamaConfig(**small | changes))


class Router(nn.Module):
    """A router as DeepSeek's is: its weight is a parameter, and no layer's."""

    def __init__(self, width: int, experts: int):
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(experts, width))

    def forward(self, x):
        return functional.linear(x, self.weight)


class Mixture(nn.Module):
    """A mixture of experts, each token to two, beside one that sees all: experts in a list."""

    def __init__(self, config: LlamaConfig, gate: nn.Module, experts: int):
        super().__init__()
        self.gate = gate
        self.experts = nn.ModuleList(LlamaMLP(config) for _ in range(experts))
        self.shared_expert = LlamaMLP(config)
        self.shared_expert_gate = nn.Linear(config.hidden_size, 1, bias=False)

    def forward(self, x):
        tokens = x.flatten(0, -2)
        weights, chosen = self.gate(tokens).softmax(dim=-1).topk(2)
        result = self.shared_expert_gate(tokens).sigmoid() * self.shared_expert(tokens)
        for number, expert in enumerate(self.experts):
            rows, place = (chosen == number).nonzero(as_tuple=True)
            update = expert(tokens[rows]) * weights[rows, place].unsqueeze(1)
            result = result.index_add(0, rows, update.to(result.dtype))
        return result.view_as(x)


def tiny_mixture(experts: int = 4, **changes) -> LlamaForCausalLM:
    """The tiny LLaMA with mixtures of experts in the place of its MLPs.

    The router of the first block is a linear layer, that of the second a module of its own.

    Args:
        experts: in each block.
        **changes: of its configuration.
    """
    model = tiny_llama(initializer_range=0.3, **changes)
    width = model.config.hidden_size
    routers = (nn.Linear(width, experts, bias=False), Router(width, experts))
    for block, router in zip(model.model.layers, routers, strict=True):
        block.mlp = Mixture(model.config, router, experts)
    return model
