import pytest
import torch
from seft_loop import adamw, make_llama, train

import seft


@pytest.fixture
def tokens():
    """Token ids of 8 sequences, (8, 12)."""
    return torch.randint(0, 32, (8, 12), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def trained(tokens):
    """Trains a SEFT model of the tiny LLaMA for some steps; returns it with its optimizer."""

    def run(steps=14, dtype=torch.float32, base_pattern=None, micro_batches=1, **options):
        defaults = {"density": 0.1, "init": "gradient", "evolve_every": 4}
        defaults |= {"accumulate_steps": 2, "stagger": False}
        model = make_llama(dtype, base_pattern)
        model = seft.get_seft_model(model, seft.SeftConfig(**defaults | options))
        optimizer, evolver = adamw(model), seft.Evolver(model, total_steps=20)
        train(model, tokens, optimizer, evolver, range(1, steps + 1), micro_batches)
        return model, optimizer, evolver

    return run
