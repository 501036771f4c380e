from copy import deepcopy
from functools import cache
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from baselines.pruning import prune
from baselines.repair import REPAIRS, build_repair

LENGTH, VOCABULARY = 12, 48

# What a method that has these options needs to show its work on the tiny model in a few steps.
OPTIONS = {"match_rank": 2, "evolve_every": 2, "accumulate_steps": 1}
LEARNING_RATES = {"spp": 0.1}


def pruned_llama(dtype: torch.dtype = torch.float32, pattern: str = "s60") -> LlamaForCausalLM:
    """Two blocks, 60 % sparse by default; 16 divides none of the layers' 40, 20 and 56 outputs."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=40,
        intermediate_size=56,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    # OPT's layers and Qwen's have biases, LLaMA's do not: one layer has one.
    layer = model.model.layers[0].mlp.up_proj
    layer.bias = torch.nn.Parameter(torch.randn(layer.out_features))
    prune(model, "magnitude", pattern=pattern)
    return model.to(dtype)


def reprune(model: torch.nn.Module) -> None:
    prune(model, "magnitude", sparsity=0.6)


def tokens(seed: int = 0, rows: int = 8) -> torch.Tensor:
    """Token ids, int64 of shape (rows, LENGTH)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCABULARY, (rows, LENGTH), generator=generator)


def build(name: str, **options):
    """The repair with a learning rate that shows in a few steps of either dtype."""
    if REPAIRS[name].training is not None:
        known = REPAIRS[name].Options.model_fields
        small = {option: value for option, value in OPTIONS.items() if option in known}
        options = {"learning_rate": LEARNING_RATES.get(name, 1e-2), **small, **options}
    return build_repair(name, **options)


def train(repair, model: torch.nn.Module, seed: int = 0, steps: int = 4, **arguments) -> None:
    """Some steps of transformers' Trainer, set up as the benchmark does."""
    with TemporaryDirectory() as folder:
        Trainer(
            model,
            TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=2,
                gradient_accumulation_steps=2,
                warmup_steps=1,
                bf16=model.get_input_embeddings().weight.dtype == torch.bfloat16,
                use_cpu=True,
                seed=seed,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                **arguments,
            ),
            train_dataset=[{"input_ids": row, "labels": row} for row in tokens()],
            optimizers=(repair.optimizer(model), None),
            callbacks=repair.callbacks(),
        ).train()


def logits(model: torch.nn.Module) -> torch.Tensor:
    """What the model answers in evaluation, float32 of shape (rows, LENGTH, VOCABULARY)."""
    with torch.no_grad():
        return model.eval()(input_ids=tokens(seed=1)).logits.float()


@cache
def _trained(training: str, dtype: torch.dtype) -> torch.nn.Module:
    repair = build(training)
    model = repair.wrap(pruned_llama(dtype), seed=0)
    train(repair, model)
    return model


def trained(name: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """The wrapped model after ``train``: a copy, since a training takes half a second."""
    return deepcopy(_trained(REPAIRS[name].training, dtype))


@pytest.fixture(scope="session")
def tiny():
    """The helpers of this folder's tests."""
    return SimpleNamespace(
        pruned_llama=pruned_llama,
        reprune=reprune,
        tokens=tokens,
        build=build,
        train=train,
        trained=trained,
        logits=logits,
    )
