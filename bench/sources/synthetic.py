"""A made-up corpus and model, for a run that needs no network and takes a minute."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from bench.sources import grammar
from bench.sources.base import BaseSource, SourceError
from bench.sources.families import FAMILIES
from bench.typed import Seed


def _json(values: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("allowed: what JSON has, with numbers that are finite") from None
    return values


class SyntheticSource(BaseSource):
    """Made on the spot from a seed: as data, a file a reader (`squad.json`, `qasc.json`,
    `winogrande_pairs.json`, `social_iqa.json`, `science.json`) and other articles for perplexity
    (`wiki.json`); as a model, a tiny one of a family (`llama` is LLaMA and LLaMA-2, `deepseek`
    DeepSeek-LLM), with random weights and a tokenizer of the family's kind trained on that text.
    """

    source: Literal["synthetic"]
    seed: Seed = Field(default=0, description="Seed of text and weights.")
    articles: Annotated[int, Field(gt=0, le=160)] = Field(
        default=24, description="Articles of each of the two text files; eight paragraphs each."
    )
    items: Annotated[int, Field(gt=0, le=512)] = Field(
        default=96, description="Facts, sentence pairs and questions of each kind."
    )
    architecture: Literal[*FAMILIES] = Field(
        default="llama", description="Of the model: its family."
    )
    shape: Annotated[dict[str, Any], AfterValidator(_json)] = Field(
        default={},
        description="Of the model: keys of its `transformers` configuration, laid over the "
        "family's (`bench/sources/families.py`).",
    )
    vocabulary: Annotated[int, Field(ge=400)] = Field(
        default=512, description="Of the model: tokens of its tokenizer."
    )

    def documents(self) -> dict[str, dict]:
        """The raw documents, by file name."""

        def random(name: str) -> Random:
            return Random(f"{self.seed} {name}")

        articles, items = self.articles, self.items
        examples = {
            "qasc.json": grammar.qasc(random("qasc"), items),
            "winogrande_pairs.json": grammar.winogrande_pairs(random("winogrande"), items),
            "social_iqa.json": grammar.social_iqa(random("social_iqa"), items),
            "science.json": grammar.science(random("science"), items),
        }
        return {
            "squad.json": grammar.squad(random("squad"), articles, grammar.OBJECTS[::2]),
            "wiki.json": grammar.squad(random("wiki"), articles, grammar.OBJECTS[1::2]),
            **{name: {"examples": list(made)} for name, made in examples.items()},
        }

    def retrieve(self, folder: Path) -> None:
        for name, document in self.documents().items():
            (folder / name).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    def retrieve_model(self, folder: Path) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        family = FAMILIES[self.architecture]
        known = AutoConfig.for_model(family.model_type)
        if unknown := [key for key in self.shape if not hasattr(known, key)]:
            raise SourceError(
                f"synthetic {self.architecture} model: shape.{unknown[0]}: allowed: what the "
                f"`transformers` configuration of {family.model_type!r} has"
            )
        texts = (text for document in self.documents().values() for text in _strings(document))
        tokenizer = family.save_tokenizer(folder, texts, self.vocabulary)
        settings = {
            "vocab_size": len(tokenizer) + family.spare,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        try:
            config = AutoConfig.for_model(
                family.model_type, **settings | family.settings | self.shape
            )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                model = AutoModelForCausalLM.from_config(
                    config, dtype=torch.bfloat16, trust_remote_code=False
                )
        # What a shape that cannot be raises depends on where the model stumbles.
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise SourceError(f"synthetic {self.architecture} model: {reason}") from error
        model.save_pretrained(folder)


def _strings(value) -> Iterator[str]:
    """All text inside nested lists and dictionaries, keys of choices included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
