"""What a cell's zeros are worth at inference: ``python -m bench inference CELL``.

One process measures, in turn,

- `dense`, the model before it was pruned;
- `zeros`, the cell's model with its zeros stored as any other number;
- `bitmask`, the same with its pruned layers as masks and values, unpacked one at a time when the
  forward pass comes to them.

Each reads a prompt (prefill) and goes on greedily with a cache of keys and values (decode), one
sequence at a time. The table holds the bytes of the weights, counted exactly, and tokens a second,
medians over the repetitions with the lowest and the highest; `times dense` are ratios to `dense`.
All three are in memory at once. Before anything is timed, each goes the whole way once, and the
logits of `bitmask` must be those of `zeros`, bit for bit.
"""

import argparse
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from baselines.pruning.layers import prunable_layers
from bench.models.loading import load_model
from bench.models.shape import length_problems
from bench.records.measures import MIB
from bench.tables.rendering import Sheet, number, with_ends
from bench.tools.arguments import Parser, positive
from bench.tools.cell_model import CELLS, load_cell, read_cell
from bench.tools.measured_training import held
from seft.evolver import now
from seft.storage import pack_layers

DENSE, ZEROS, BITMASK = STORED = ("dense", "zeros", "bitmask")
PHASES = ("prefill", "decode")
WORTH = (
    "Zeros that are stored as numbers bring 1.0 x: they take the bytes and the products of the "
    "dense model. What `zeros` differ by from it in tokens a second is noise."
)


@torch.no_grad()
def answer(model: nn.Module, prompt: Tensor, tokens: int) -> tuple[float, float, Tensor]:
    """Read a prompt, int64 (1, length), and decode ``tokens`` tokens greedily; none ends it.

    Returns:
        Seconds that the prompt took, and the tokens after it; logits of each token that was
        decoded, and of the one after them, (tokens + 1, vocabulary).
    """
    start = now(model.device)
    output = model(input_ids=prompt, use_cache=True, logits_to_keep=1)
    logits = [output.logits[0, -1]]
    read = now(model.device)
    for _ in range(tokens):
        chosen = logits[-1].argmax().view(1, 1)
        output = model(input_ids=chosen, past_key_values=output.past_key_values, use_cache=True)
        logits.append(output.logits[0, -1])
    return read - start, now(model.device) - read, torch.stack(logits)


def packed(model: nn.Module) -> nn.Module:
    """A model whose pruned layers are bit masks; all else is the one's own, and not copied."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return pack_layers(deepcopy(model, shared), [*prunable_layers(model)])


def unmapped(model: nn.Module) -> nn.Module:
    """Let a model's weights lie in memory: some are still mapped from their file."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


def measure(
    models: dict[str, nn.Module], prompt: Tensor, tokens: int, repeat: int
) -> tuple[dict[str, int], pd.DataFrame]:
    """Measure each model ``repeat`` times, in turn, after one time that does not count.

    Args:
        models: by the names of ``STORED``.
        prompt: int64 (1, length).
        tokens: to decode.
        repeat: repetitions.

    Returns:
        Bytes of each model's weights; and one row a measurement: ``stored`` and, of each phase,
        tokens a second.

    Raises:
        ValueError: ``bitmask`` does not answer as ``zeros`` do (one line).
    """
    weights = {name: held([*m.parameters(), *m.buffers()]) for name, m in models.items()}
    first = {name: answer(model, prompt, tokens)[2] for name, model in models.items()}
    if not torch.equal(first[BITMASK], first[ZEROS]):
        furthest = (first[BITMASK] - first[ZEROS]).abs().max().item()
        raise ValueError(f"{BITMASK}: logits are up to {furthest:g} from those of {ZEROS}")
    rows = []
    with tqdm(total=repeat * len(models), unit="run") as bar:
        for _ in range(repeat):
            for name, model in models.items():
                bar.set_postfix_str(name)
                prefill, decode, _ = answer(model, prompt, tokens)
                rates = (prompt.shape[1] / prefill, tokens / decode)
                rows.append({"stored": name, **dict(zip(PHASES, rates, strict=True))})
                bar.update()
    return weights, pd.DataFrame(rows)


def table(weights: dict[str, int], measured: pd.DataFrame) -> pd.DataFrame:
    """One row a model, of what :func:`measure` returned; ratios are to ``dense``.

    Columns: ``weights_mib``, and of each phase the median tokens a second, ``_low`` and ``_high``;
    ``_ratio`` of each.
    """
    grouped = measured.groupby("stored")
    result = pd.DataFrame({"weights_mib": pd.Series(weights) / MIB})
    result["weights_ratio"] = result["weights_mib"] / result.loc[DENSE, "weights_mib"]
    for phase in PHASES:
        columns = [phase, f"{phase}_low", f"{phase}_high"]
        result[columns] = grouped[phase].agg(["median", "min", "max"])
        result[f"{phase}_ratio"] = result[phase] / result.loc[DENSE, phase]
    return result


def shown(result: pd.DataFrame, caption: str) -> str:
    """The table to read, as Markdown."""
    times: Callable[[float], str] = "{:.2f}".format
    text = pd.DataFrame(
        {
            "weights": result.index,
            "MiB": result["weights_mib"].map("{:,.1f}".format),
            "times dense": result["weights_ratio"].map(times),
        }
    )
    for phase in PHASES:
        ends = result[[phase, f"{phase}_low", f"{phase}_high"]].itertuples(index=False, name=None)
        text[f"{phase}, tokens/s"] = [with_ends(*row) for row in ends]
        text[f"{phase}, times dense"] = result[f"{phase}_ratio"].map(times)
    return Sheet(text, {}, caption, ["weights"]).markdown().rstrip()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of_arguments()
    given = parser.parse_args(arguments)
    try:
        record = read_cell(given.cell)
        length = {"--prompt + --tokens": given.prompt + given.tokens}
        folder = Path(record["inputs"]["model"])
        for problem in length_problems(record["cell"]["model"], folder, length):
            raise ValueError(problem)
        zeros = unmapped(load_cell(given.cell, record, given.device))
        dense = unmapped(load_model(record["inputs"]["model"], zeros.device, zeros.dtype))
        torch.set_num_threads(given.threads or record["provenance"]["threads"])
        models = dict(zip(STORED, (dense, zeros, packed(zeros)), strict=True))
        generator = torch.Generator().manual_seed(0)
        vocabulary = zeros.get_input_embeddings().num_embeddings
        prompt = torch.randint(vocabulary, (1, given.prompt), generator=generator)
        measured = measure(models, prompt.to(zeros.device), given.tokens, given.repeat)
    except ValueError as error:
        parser.exit(1, f"{error}\n")
    threads = torch.get_num_threads()
    where = f"{zeros.device.type}, {threads} thread{'s' * (threads > 1)}"
    if zeros.device.type == "cuda":
        where = torch.cuda.get_device_name(zeros.device)
    print(
        shown(
            table(*measured),
            f"{given.cell}: {number(record['sparsity']['achieved'])} of the pruned layers' weights "
            f"are zero. {str(zeros.dtype).removeprefix('torch.')} on {where}; a prompt of "
            f"{given.prompt} tokens, {given.tokens} decoded; medians of {given.repeat} (lowest to "
            f"highest). Logits of {BITMASK} are those of {ZEROS}, bit for bit. {WORTH}",
        )
    )


def parser_of_arguments() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell", type=Path, metavar="CELL", help=f"folder below {CELLS}")
    for name, default, about in (
        ("prompt", 128, "tokens that are read at once"),
        ("tokens", 64, "that are decoded, one after another"),
        ("repeat", 5, "repetitions"),
        ("threads", None, "on a CPU (default: the record's)"),
    ):
        parser.add_argument(f"--{name}", type=positive, default=default, help=about)
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), help="default: as the record's cell was run"
    )
    return parser
