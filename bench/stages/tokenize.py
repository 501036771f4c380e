"""Token ids, made once for a model and shared by all its cells."""

from pathlib import Path

from bench.data.items import read_items
from bench.data.tokens import Packed, calibration, pack
from bench.files import whole
from bench.models.loading import load_tokenizer
from bench.origin import identity, mark
from bench.stages.inputs import verify_data, verify_model


def tokenize_calibration(model: str, data: str, output: str, config: dict) -> None:
    """Write ``input_ids`` (samples, length) of the calibration text.

    Args:
        model: folder of the model, for its tokenizer.
        data: folder of the data set.
        output: safetensors file to write.
        config: ``model``, ``calibration`` and ``data``
            (:func:`bench.records.record.data_config`) of the resolved configuration.

    Raises:
        DataError: when the text is too short.
        OriginError: model or data are not what is asked for.
    """
    from safetensors.torch import save_file

    verify_model(model, config)
    settings = config["calibration"]
    used = verify_data({settings["data"]: data}, config["data"])
    items = read_items(Path(data) / f"{settings['split']}.jsonl")
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
    mark(output, {"model": identity(model), "data": used, "calibration": settings})


def tokenize_repair(model: str, data: list[str], output: str, config: dict) -> None:
    """Write the packed blocks of the repair text (see :class:`bench.data.tokens.Packed`).

    Args:
        model: folder of the model, for its tokenizer.
        data: folders of the mixture's data sets.
        output: safetensors file to write.
        config: ``model``, ``packing`` (:func:`bench.records.record.packing`) and ``data``
            (:func:`bench.records.record.data_config`) of the resolved configuration.

    Raises:
        DataError: when a data set is used up.
        OriginError: model or data are not what is asked for.
    """
    verify_model(model, config)
    packing = config["packing"]
    folders = {Path(folder).name: Path(folder) for folder in data}
    used = verify_data(folders, {name: config["data"][name] for name in packing["mixture"]})
    mixture = {
        name: (read_items(folders[name] / f"{packing['split']}.jsonl"), weight)
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
    blocks.save(output, {"model": identity(model), "data": used, "packing": packing})
