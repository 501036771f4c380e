"""A made-up corpus and model, for a run that needs no network and takes a minute."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

from pydantic import Field

from bench.sources import grammar
from bench.sources.base import BaseSource, SourceError

LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


class SyntheticSource(BaseSource):
    """Made on the spot from a seed: as data, a file a reader (`squad.json`, `qasc.json`,
    `winogrande_pairs.json`, `social_iqa.json`, `science.json`) and other articles for perplexity
    (`wiki.json`); as a model, random weights and a tokenizer trained on that text.
    """

    source: Literal["synthetic"]
    seed: int = Field(default=0, description="Seed of text and weights.")
    articles: Annotated[int, Field(gt=0, le=160)] = Field(
        default=24, description="Articles of each of the two text files; eight paragraphs each."
    )
    items: Annotated[int, Field(gt=0, le=512)] = Field(
        default=96, description="Facts, sentence pairs and questions of each kind."
    )
    architecture: str = Field(
        default="llama", description="Of the model: a `model_type` of `transformers`."
    )
    shape: dict[str, Any] = Field(
        default=LLAMA, description="Of the model: keys of its `transformers` configuration."
    )
    vocabulary: Annotated[int, Field(ge=300)] = Field(
        default=512, description="Of the model: tokens of the byte-level BPE tokenizer."
    )

    def documents(self) -> dict[str, dict]:
        """The raw documents, by file name."""

        def random(name: str) -> Random:
            return Random(f"{self.seed} {name}")

        articles, items = self.articles, self.items
        return {
            "squad.json": grammar.squad(random("squad"), articles, grammar.OBJECTS[::2]),
            "wiki.json": grammar.squad(random("wiki"), articles, grammar.OBJECTS[1::2]),
            "qasc.json": grammar.qasc(random("qasc"), items),
            "winogrande_pairs.json": grammar.winogrande_pairs(random("winogrande"), items),
            "social_iqa.json": grammar.social_iqa(random("social_iqa"), items),
            "science.json": grammar.science(random("science"), items),
        }

    def retrieve(self, folder: Path) -> None:
        for name, document in self.documents().items():
            (folder / name).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    def retrieve_model(self, folder: Path) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        tokenizer = self._tokenizer()
        try:
            config = AutoConfig.for_model(
                self.architecture,
                **self.shape,
                vocab_size=len(tokenizer),
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        except ValueError as error:
            reason = str(error).partition("\n")[0]
            raise SourceError(f"synthetic {self.architecture} model: {reason}") from error
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    def _tokenizer(self):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        special = {
            "unk_token": "<unk>",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
        }
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        bpe.train_from_iterator(
            (text for document in self.documents().values() for text in _strings(document)),
            trainers.BpeTrainer(
                vocab_size=self.vocabulary,
                special_tokens=list(special.values()),
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            ),
        )
        return PreTrainedTokenizerFast(tokenizer_object=bpe, **special)


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
