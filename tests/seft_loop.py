"""A tiny pruned LLaMA, and a hand-written loop that trains SEFT on it."""

import torch
from tiny import tiny_llama
from torch import nn

import seft


def make_llama(dtype: torch.dtype = torch.float32, pattern: tuple[int, int] | None = None):
    """Two blocks, 14 linear layers of up to 24 x 16, pruned at random; always the same one."""
    model = tiny_llama(num_attention_heads=4, initializer_range=0.3)
    for module in model.model.layers.modules():
        if isinstance(module, nn.Linear):
            weight = module.weight.data
            if pattern is None:
                weight[torch.rand_like(weight) < 0.6] = 0
            else:
                groups = weight.view(len(weight), -1, pattern[1])
                groups.scatter_(2, torch.rand_like(groups).argsort(dim=2)[..., : pattern[0]], 0)
    return model.to(dtype)


def train(model, tokens, optimizer, evolver, steps, micro_batches=1):
    """Take optimizer steps, each on rows of `tokens` that its number alone chooses."""
    model.train()
    for step in steps:
        rows = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(step))[:4]
        for part in tokens[rows].chunk(micro_batches):
            (model(input_ids=part, labels=part).loss / micro_batches).backward()
        optimizer.step()
        evolver.step(optimizer, step)
        optimizer.zero_grad()


def adamw(model, lr=0.01):
    trained = [p for p in model.parameters() if p.requires_grad]
    return seft.AdamW(trained, lr=lr, ramp=model.seft_config.ramp)
