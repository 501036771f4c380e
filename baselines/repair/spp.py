"""SPP, sparsity-preserved parameter-efficient fine-tuning (Lu et al., ICML 2024).

For a pruned weight W (m outputs, n inputs), alpha of shape (r, n) and beta of shape (m, 1) train:

    Delta W = W * (beta 1^T) * repeat(alpha)         y = W x + s Delta W dropout(x)

with element-wise products, where repeat gives each row of alpha to ceil(m / r) consecutive outputs
and is cut to m rows: if r does not divide m, the last group is smaller (and, if r is close to m,
the last rows of alpha serve no output). Delta W is zero where W is, so merging keeps the zeros.
"""

import math

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from baselines.repair.base import FrozenBaseOptions, FrozenLayerRepair, RepairedLinear
from baselines.repair.dropout import dropout


class SppOptions(FrozenBaseOptions):
    learning_rate: PositiveFloat = Field(4e-3, description="Peak learning rate.")
    weight_decay: NonNegativeFloat = Field(1e-3, description="Decoupled weight decay of AdamW.")
    rank: PositiveInt = Field(16, description="Rows r of alpha.")
    scale: PositiveFloat = Field(2.0, description="Scale s of the update.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the input of the update.")


class Spp(FrozenLayerRepair):
    """SPP on every target layer."""

    Options = SppOptions
    paper = "Lu et al., ICML 2024, arXiv 2405.16057"
    training = "spp"
    products = 5  # The update has its own, forward and backward.

    def numbers(self, outputs: int, inputs: int, nonzero: int) -> int:
        return self.options.rank * inputs + outputs

    def repaired(self, base: nn.Linear, generator: torch.Generator) -> "SppLinear":
        options = self.options
        return SppLinear(base, options.rank, options.scale, options.dropout, generator)


class SppLinear(RepairedLinear):
    """A linear layer with SPP's update."""

    def __init__(
        self, base: nn.Linear, rank: int, scale: float, dropout: float, generator: torch.Generator
    ):
        super().__init__(base)
        self.alpha = self.random_rows(rank, generator)
        self.beta = nn.Parameter(self.alpha.new_zeros(base.out_features, 1))
        self.scale = scale
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        y = self.base_layer(x)
        # The update has its own product with x, not W + s Delta W one with both: dropout acts on
        # the update alone, and bfloat16 would round a small update of the weight away.
        x = dropout(x, self.dropout, self.training)
        # y.dtype is what autocast computes in, if it is on.
        operands = (x, self.alpha, self.scale * self.beta)
        return y + _Update.apply(*(tensor.to(y.dtype) for tensor in operands), self.base_layer)

    @torch.no_grad()
    def merge(self) -> nn.Linear:
        weight = self.base_layer.weight
        factor = repeat(self.alpha, len(weight)).mul_(self.scale * self.beta).add_(1)
        weight.copy_(factor.mul_(weight))
        return self.base_layer


def repeat(alpha: Tensor, outputs: int) -> Tensor:
    """Each row of alpha, (r, n), for ceil(outputs / r) rows, cut to (outputs, n)."""
    return alpha.repeat_interleave(math.ceil(outputs / len(alpha)), dim=0)[:outputs]


class _Update(torch.autograd.Function):
    """x, (..., n) -> Delta W x, (..., m), that saves no product or copy of the weight's size.

    With V = W * repeat(alpha), Delta W x = beta * (V x). Of a gradient g of Delta W x, backward
    forms P = (g^T x) * W, from which d beta is the row sums of P * repeat(alpha), and d alpha the
    sums of beta * P over the rows that share a row of alpha. Either is a product of P with a
    matrix of r columns, whether or not r divides m.
    """

    @staticmethod
    def forward(ctx, x: Tensor, alpha: Tensor, beta: Tensor, base: nn.Linear) -> Tensor:
        ctx.save_for_backward(x, alpha, beta)
        ctx.base = base
        weight = base.weight.to(x.dtype)
        return F.linear(x, repeat(alpha, len(weight)).mul_(weight)).mul_(beta.view(-1))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, alpha, beta = ctx.saved_tensors
        weight = ctx.base.weight.to(x.dtype)
        gradient_x = None
        if ctx.needs_input_grad[0]:
            gradient_x = (gradient * beta.view(-1)) @ repeat(alpha, len(weight)).mul_(weight)
        product = (gradient.flatten(0, -2).T @ x.flatten(0, -2)).mul_(weight)
        group = repeat(torch.arange(len(alpha), device=x.device).unsqueeze(1), len(weight))
        # (m, r), each row beta in the column of its output's row of alpha.
        selector = beta.new_zeros(len(weight), len(alpha)).scatter_(1, group, beta)
        gradient_alpha = selector.T @ product
        gradient_beta = (product @ alpha.T).gather(1, group)
        return gradient_x, gradient_alpha, gradient_beta, None
