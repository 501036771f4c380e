"""A LLaMA of a few thousand weights."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


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
