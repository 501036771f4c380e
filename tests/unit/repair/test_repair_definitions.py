"""Trainings as the benchmark does them against plain autograd and AdamW, written down in float64.

The oracle forms each layer's dense weight by the method's formula, takes the mean loss over all
tokens of a batch that count, and knows nothing of micro-batches, kernels or where gradients go.
"""

import math

import pytest
import torch
from torch.func import functional_call

from baselines.pruning import prunable_layers
from baselines.repair.base import trainables
from bench.config.training import Training
from bench.data.tokens import Blocks
from bench.training.train import train

PEAK, DECAY, RANK, SCALE = 1e-2, 0.1, 3, 2.0
SETTINGS = Training(
    mixture=[{"data": "x"}],
    length=12,
    batch_size=2,
    gradient_accumulation=2,
    steps=6,
    warmup=0.3,
    final_rate=0.2,
    clip=2.75,  # Some gradients of `full` are longer, some are not.
)


def full(weight, part, values):
    return torch.zeros_like(weight).masked_scatter(weight != 0, values)


def full_dense(weight, part, values):
    return values


def lora(weight, part, a, b):
    return weight + SCALE * b @ a


def masked_lora(weight, part, a, b):
    return weight + SCALE * (b @ a) * (weight != 0)


def spp(weight, part, alpha, beta):
    rows = math.ceil(len(weight) / len(alpha))
    return weight * (1 + SCALE * beta * alpha[[row // rows for row in range(len(weight))]])


def static(weight, part, delta):
    return weight.flatten().index_add(0, part.indices.long(), delta).view_as(weight)


def shira(weight, part, values):
    return weight.index_put(tuple(part.shira_indices["default"].long()), values.flatten(), True)


LOW_RANK = {"rank": RANK, "alpha": int(RANK * SCALE)}
METHODS = {
    "full": (full, {}),
    "full-dense": (full_dense, {}),
    "lora-dense": (lora, {**LOW_RANK, "dropout": 0}),
    "masked-lora": (masked_lora, LOW_RANK),
    "spp": (spp, {"rank": RANK, "scale": SCALE, "dropout": 0}),
    "static": (static, {"match_rank": RANK}),
    "shira": (shira, {"match_rank": RANK}),
}


def text(tiny) -> Blocks:
    """Blocks of which as many tokens count as chance has it, in one of them none."""
    ids = tiny.tokens(rows=SETTINGS.blocks)
    begins = torch.randint(1, 11, (len(ids), 1), generator=torch.Generator().manual_seed(1))
    begins[5] = SETTINGS.length
    return Blocks(ids, ids.masked_fill(torch.arange(SETTINGS.length) < begins, -100))


def rate(step: int) -> float:
    """Linear over two steps from 0, then half a cosine to a fifth of the peak."""
    if step < 2:
        return PEAK * step / 2
    return PEAK * (0.2 + 0.8 * (1 + math.cos(math.pi * (step - 2) / 4)) / 2)


def mean_loss(logits, labels, dense_logits):
    """Over the tokens that count: of the next token, or the divergence from the dense model's."""
    log_q, targets = logits[:, :-1].log_softmax(-1), labels[:, 1:]
    if dense_logits is None:
        each = -log_q.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    else:
        log_p = dense_logits[:, :-1].log_softmax(-1)
        each = (log_p.exp() * (log_p - log_q)).sum(-1)
    return each[targets != -100].mean()


def expected_weights(tiny, formula, parts, starts, batches, distills) -> dict[str, torch.Tensor]:
    """The weights of each layer, float64.

    Args:
        tiny: the helpers.
        formula: of a layer's weight.
        parts: what the method has put in the place of each layer, by the layer's name.
        starts: what trains of each layer, in the beginning.
        batches: token ids and labels of each step.
        distills: whether the dense model's distribution is learnt.
    """
    model, dense = (
        m.double().requires_grad_(False) for m in (tiny.pruned_llama(), tiny.dense_llama())
    )
    base = {name: layer.weight for name, layer in prunable_layers(model).items()}
    trained = {name: [t.double().requires_grad_() for t in start] for name, start in starts.items()}
    numbers = [tensor for tensors in trained.values() for tensor in tensors]
    means, squares = ([torch.zeros_like(n) for n in numbers] for _ in range(2))

    def weights():
        return {name: formula(base[name], parts[name], *trained[name]) for name in base}

    for step, (ids, labels) in enumerate(batches):
        replaced = {f"{name}.weight": weight for name, weight in weights().items()}
        logits = functional_call(model, replaced, (), {"input_ids": ids}).logits
        loss = mean_loss(logits, labels, dense(input_ids=ids).logits if distills else None)
        gradients = torch.autograd.grad(loss, numbers)
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        with torch.no_grad():
            for number, mean, square, g in zip(numbers, means, squares, gradients, strict=True):
                g = g * min(1, SETTINGS.clip / norm)
                mean.mul_(0.9).add_(0.1 * g)
                square.mul_(0.999).add_(0.001 * g * g)
                m, v = mean / (1 - 0.9 ** (step + 1)), square / (1 - 0.999 ** (step + 1))
                number.mul_(1 - rate(step) * DECAY).sub_(rate(step) * m / (v.sqrt() + 1e-8))
    return {name: weight.detach() for name, weight in weights().items()}


@pytest.mark.parametrize(
    ("name", "objective"), [*((name, "next-token") for name in METHODS), ("full", "distill")]
)
def test_a_training_is_its_definition(tiny, name, objective):
    formula, options = METHODS[name]
    repair = tiny.build(
        name, learning_rate=PEAK, weight_decay=DECAY, objective=objective, **options
    )
    model, blocks, served = repair.wrap(tiny.pruned_llama(), seed=0), text(tiny), []
    base = {name: layer.weight for name, layer in prunable_layers(tiny.pruned_llama()).items()}
    parts = {
        layer: next(m for n, m in model.named_modules() if n.endswith(layer)) for layer in base
    }
    starts = {
        layer: [tensor.detach().clone() for tensor in trainables(part).values()]
        for layer, part in parts.items()
    }
    model.get_input_embeddings().register_forward_pre_hook(lambda _, args: served.append(args[0]))
    dense = tiny.dense_llama() if repair.needs_dense else None
    train(model, repair, blocks, SETTINGS, seed=0, dtype=torch.float32, dense=dense)
    rows = zip(blocks.input_ids, blocks.labels, strict=True)
    labels = {tuple(ids.tolist()): row for ids, row in rows}
    batches = [
        (ids, torch.stack([labels[tuple(row.tolist())] for row in ids]))
        for ids in torch.cat(served).split(4)
    ]
    distills = objective == "distill"
    expected = expected_weights(tiny, formula, parts, starts, batches, distills)
    merged = prunable_layers(repair.merge(model, lambda model: None))
    for layer, weight in expected.items():
        assert (weight - base[layer]).abs().max() > PEAK / 10
        torch.testing.assert_close(merged[layer].weight.double(), weight, rtol=0, atol=2e-5)
