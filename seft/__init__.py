"""SEFT: sparsity evolution fine-tuning of pruned language models (Xiao et al. 2025).

A pruned model is fine-tuned through a sparse delta whose positions evolve while the model trains:
weak positions are dropped, positions with large gradients grow (pruned weights may come back), and
the mask adapts so that every layer stays as sparse as it was.

    model = get_seft_model(model, SeftConfig(match_rank=8))
    trainer = Trainer(
        model,
        ...,
        callbacks=[SeftCallback()],
        optimizer_cls_and_kwargs=(seft.AdamW, {"lr": 1e-3}),
    )
    trainer.train()
    sparse = model.merge_and_unload()
"""

from seft.config import SeftConfig
from seft.evolver import Evolver
from seft.model import SeftModel, get_seft_model
from seft.optim import AdamW

__all__ = ["AdamW", "Evolver", "SeftCallback", "SeftConfig", "SeftModel", "get_seft_model"]


def __getattr__(name: str):
    # The Trainer takes seconds to import: only those who use it pay for it.
    if name == "SeftCallback":
        from seft.callback import SeftCallback

        return SeftCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
