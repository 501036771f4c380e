"""Token ids, made once for a model and shared by all its cells."""

from pathlib import Path

from bench.data.disjoint import read_seen
from bench.data.tokens import Packed, calibration, pack
from bench.files import whole
from bench.models.loading import load_tokenizer


def tokenize_calibration(
    model: str, data: str, checked: str | None, output: str, settings: dict
) -> None:
    """Write ``input_ids`` (samples, length) of the calibration text.

    Args:
        model: folder of the model, for its tokenizer.
        data: folder of the data set.
        checked: manifest of the data, which says what is left out; None for nothing.
        output: safetensors file to write.
        settings: the configuration's ``calibration``.

    Raises:
        DataError: when the text is too short.
    """
    from safetensors.torch import save_file

    items = read_seen(Path(data), settings["split"], checked)
    ids = calibration(
        items,
        load_tokenizer(model),
        samples=settings["samples"],
        length=settings["length"],
        seed=settings["seed"],
        sampling=settings["sampling"],
    )
    with whole(output) as temporary:
        save_file({"input_ids": ids}, temporary)


def tokenize_repair(
    model: str, data: list[str], checked: str | None, output: str, packing: dict
) -> None:
    """Write the packed blocks of the repair text (see :class:`bench.data.tokens.Packed`).

    Args:
        model: folder of the model, for its tokenizer.
        data: folders of the mixture's data sets.
        checked: manifest of the data, which says what is left out; None for nothing.
        output: safetensors file to write.
        packing: mixture (weights by data set), split, blocks, length, prompt_loss.

    Raises:
        DataError: when a data set is used up.
    """
    folders = {Path(folder).name: Path(folder) for folder in data}
    mixture = {
        name: (read_seen(folders[name], packing["split"], checked), weight)
        for name, weight in packing["mixture"].items()
    }
    blocks: Packed = pack(
        mixture,
        load_tokenizer(model),
        length=packing["length"],
        blocks=packing["blocks"],
        prompt_loss=packing["prompt_loss"],
        seed=0,
    )
    blocks.save(output)
