"""Token ids, made once for a model and shared by all its cells."""

from pathlib import Path

from torch import Tensor

from bench.data.disjoint import dropped_identity, read_seen
from bench.data.forms import DataError
from bench.data.tokens import Blocks, calibration, pack
from bench.files import whole
from bench.models.loading import load_tokenizer
from bench.models.shape import length_problems
from bench.origin import identity, mark, verify
from bench.sources.checkpoint import LOCAL, no_row
from bench.stages.inputs import verify_data


def tokenize_calibration(
    model: str, data: str, output: str, config: dict, *, checked: str | None = None
) -> None:
    """Write ``input_ids`` (samples, length) of the calibration text.

    Args:
        model: folder of the model, for its tokenizer.
        data: folder of the data set.
        output: safetensors file to write.
        config: ``model``, ``calibration`` and ``data``
            (:func:`bench.records.record.data_config`) of the resolved configuration.
        checked: manifest of the data, which says what is left out; None for nothing.

    Raises:
        DataError: when the text is too short, or has a token that the model has no row for, or
            more tokens a sequence than it takes.
        OriginError: model or data are not what is asked for.
    """
    from safetensors.torch import save_file

    verify(model, {"source": config["model"]})
    settings = config["calibration"]
    used = verify_data({settings["data"]: data}, config["data"])
    _check_length(settings["length"], model, "calibration")
    items = read_seen(Path(data), settings["split"], checked)
    tokenizer = load_tokenizer(model)
    drawn = {key: value for key, value in settings.items() if key not in ("data", "split")}
    ids = calibration(items, tokenizer, **drawn)
    _check_rows(ids, tokenizer, model, "calibration text")
    with whole(output) as temporary:
        save_file({"input_ids": ids}, temporary)
    origin = {"model": identity(model), "data": used, "calibration": settings}
    mark(output, origin | {"dropped": dropped_identity(checked, used, settings["split"])})


def tokenize_repair(
    model: str, data: list[str], output: str, config: dict, *, checked: str | None = None
) -> None:
    """Write the packed blocks of the repair text (see :class:`bench.data.tokens.Blocks`).

    Args:
        model: folder of the model, for its tokenizer.
        data: folders of the mixture's data sets.
        output: safetensors file to write.
        config: ``model``, ``packing`` (:func:`bench.records.record.packing`) and ``data``
            (:func:`bench.records.record.data_config`) of the resolved configuration.
        checked: manifest of the data, which says what is left out; None for nothing.

    Raises:
        DataError: when a data set is used up, or has a token that the model has no row for, or
            when the model takes fewer tokens.
        OriginError: model or data are not what is asked for.
    """
    verify(model, {"source": config["model"]})
    packing = config["packing"]
    _check_length(packing["length"], model, "training")
    folders = {Path(folder).name: Path(folder) for folder in data}
    used = verify_data(folders, {name: config["data"][name] for name in packing["mixture"]})
    mixture = {
        name: (read_seen(folders[name], packing["split"], checked), weight)
        for name, weight in packing["mixture"].items()
    }
    tokenizer = load_tokenizer(model)
    blocks: Blocks = pack(
        mixture,
        tokenizer,
        length=packing["length"],
        blocks=packing["blocks"],
        prompt_loss=packing["prompt_loss"],
        seed=0,
    )
    _check_rows(blocks.input_ids, tokenizer, model, "repair text")
    origin = {"model": identity(model), "data": used, "packing": packing}
    blocks.save(output, origin | {"dropped": dropped_identity(checked, used, packing["split"])})


def _check_length(length: int, model: str, section: str) -> None:
    problems = length_problems(Path(model).name, Path(model), {f"{section}.length": length})
    for problem in problems:
        raise DataError(problem)


def _check_rows(ids: Tensor, tokenizer, model: str, text: str) -> None:
    """A tokenizer may have tokens that were added without resizing the model's embedding."""
    from transformers import AutoConfig

    rows = AutoConfig.from_pretrained(model, **LOCAL).get_text_config().vocab_size
    if (highest := int(ids.max())) >= rows:
        raise DataError(f"{text}: {model}: {no_row(tokenizer, highest, rows)}")
