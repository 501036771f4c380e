import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM


def tiny_llama(dtype: torch.dtype = torch.float32, sparsity: float = 0.6) -> LlamaForCausalLM:
    """Two blocks, 14 linear layers of up to 24 x 16, pruned at random; always the same one."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.3,
        )
    )
    for module in model.model.layers.modules():
        if isinstance(module, nn.Linear):
            module.weight.data[torch.rand_like(module.weight) < sparsity] = 0
    return model.to(dtype)


@pytest.fixture
def llama():
    return tiny_llama()


@pytest.fixture
def make_llama():
    return tiny_llama


@pytest.fixture
def tokens():
    """Token ids of 8 sequences, (8, 12)."""
    return torch.randint(0, 32, (8, 12), generator=torch.Generator().manual_seed(1))


def train(model, tokens, optimizer, evolver, first, last, micro_batches=1):
    """Optimizer steps `first` to `last`, each on rows of `tokens` that its number alone chooses."""
    model.train()
    for step in range(first, last + 1):
        rows = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(step))[:4]
        for part in tokens[rows].chunk(micro_batches):
            (model(input_ids=part, labels=part).loss / micro_batches).backward()
        optimizer.step()
        evolver.step(optimizer, step)
        optimizer.zero_grad()


@pytest.fixture(name="train")
def train_fixture():
    return train
