"""Two processes that each see half of the batch take the same decisions as one that sees all."""

import torch
from torch import distributed, nn
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

import seft

STEPS = 12


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(nn.Linear(12, 12) for _ in range(3))
        for block in self.blocks:
            block.weight.data[torch.rand_like(block.weight) < 0.5] = 0

    def forward(self, x):
        for block in self.blocks:
            x = torch.tanh(block(x))
        return x


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(2, 8, 12, generator=generator).unbind()


def run(
    options: dict, rank: int = 0, ranks: int = 1, silent: int | None = None
) -> dict[str, torch.Tensor]:
    """Train on this rank's share of each batch, none of which counts on one rank; the state."""
    config = {"density": 0.1, "evolve_every": 4, "accumulate_steps": 2, "drop_fraction": 0.5}
    model = seft.get_seft_model(Blocks(), seft.SeftConfig(**config | options))
    wrapped = DistributedDataParallel(model) if ranks > 1 else model
    optimizer = seft.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    evolver = seft.Evolver(model, total_steps=STEPS)
    for step in range(1, STEPS + 1):
        x, y = (part.chunk(ranks)[rank] for part in batch(step))
        (nn.functional.mse_loss(wrapped(x), y) * (rank != silent)).backward()
        optimizer.step()
        evolver.step(optimizer, step)
        optimizer.zero_grad()
    return model.state_dict()


OPTIONS = [
    {"candidates": None},
    {"candidates": None, "growth": "random", "moments": "seeded"},
    {},
    {"init": "inside", "moments": "seeded"},
    {"candidates": 1000},
]
SILENT = [{"moments": "seeded", "candidates": count} for count in (None, 1000)]


def work(rank: int, folder: str):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    states = [run(options, rank, ranks=2) for options in OPTIONS]
    states += [run(options, rank, ranks=2, silent=1) for options in SILENT]
    torch.save(states, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_all_ranks_decide_alike_and_as_one_process_would(tmp_path):
    spawn(work, (str(tmp_path),), nprocs=2)
    by_rank = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for first, second in zip(*by_rank, strict=True):
        assert all(torch.equal(first[name], second[name]) for name in first)
    whole, *_, everything, silent, silent_everything = by_rank[0]
    for limited, unlimited in ((everything, whole), (silent_everything, silent)):
        assert all(torch.equal(unlimited[name], limited[name]) for name in unlimited)
    # Squares and candidates depend on how the batch is split; the rest does not.
    for name, values in run(OPTIONS[0]).items():
        torch.testing.assert_close(by_rank[0][0][name], values)
