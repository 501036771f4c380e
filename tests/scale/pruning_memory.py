"""Peak memory of the host while a model of many blocks is loaded, pruned and saved.

    python -m tests.scale.pruning_memory --blocks 24

Each pruner runs in a process of its own, on a model made on the fly, in the dtype of its files and
in another one. Memory is what the process holds above its libraries, in copies of the model.
"""

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from baselines.pruning import PRUNERS, prune
from bench.jobs.measure import peak_rss, reset_peak_rss
from bench.models.bases import save_base
from bench.models.loading import load_model

CPU = torch.device("cpu")


def make_model(folder: Path, blocks: int) -> None:
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=blocks,
        num_attention_heads=8,
    )
    LlamaForCausalLM._from_config(config, dtype=torch.bfloat16).save_pretrained(
        folder, max_shard_size="200MB"
    )


def peaks(folder: Path, pruner: str, dtype: torch.dtype) -> list[int]:
    """Peak bytes above the libraries: after loading, after pruning, after saving."""
    torch.set_num_threads(1)
    held = reset_peak_rss()
    found = []
    model = load_model(folder, CPU, dtype)
    found.append(peak_rss() - held)
    prune(model, pruner, sparsity=0.6, calibration=torch.randint(1000, (4, 128)))
    found.append(peak_rss() - held)
    with TemporaryDirectory() as output:
        save_base(model, output, dense=folder, pruner=pruner)
    found.append(peak_rss() - held)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=24)
    given = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"  # in the processes that prune
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_model(folder, given.blocks)
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        print(f"{given.blocks} blocks, {size / 2**20:,.0f} MiB in bfloat16")
        print("peak, in copies of the model: loaded, pruned, saved")
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
            for dtype in (torch.bfloat16, torch.float32):
                for pruner in PRUNERS:
                    found = pool.submit(peaks, folder, pruner, dtype).result()
                    copies = [bytes_ / (size * dtype.itemsize / 2) for bytes_ in found]
                    print(f"{pruner:10} {dtype}  " + "  ".join(f"{n:.2f}" for n in copies))


if __name__ == "__main__":
    main()
