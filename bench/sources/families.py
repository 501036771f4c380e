"""Families of language models, each as a model small enough to be made on the fly.

Such a stand-in has the classes of the family's model and tokenizer, and the settings that set the
family apart: what a family does to pruning, repair and evaluation, it does too.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import read_json, write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


def byte_level(texts: Iterable[str], size: int, special: list[str]) -> "Tokenizer":
    """A BPE tokenizer of bytes, trained on ``texts`` to ``size`` tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return bpe


def sentence_pieces(texts: Iterable[str], size: int, special: list[str]) -> "Tokenizer":
    """A BPE tokenizer as SentencePiece's: each word begins with ▁, the first one too, and what it
    has no token for is spelt in bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    spelt = [f"<0x{byte:02X}>" for byte in range(256)]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(spelt), special_tokens=special, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    trained = json.loads(bpe.to_str())["model"]
    pieces = sorted(trained["vocab"], key=trained["vocab"].get)[len(special) :]
    bpe.model = models.BPE(
        vocab={token: i for i, token in enumerate([*special, *spelt, *pieces])},
        merges=[tuple(pair) for pair in trained["merges"]],
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    bpe.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return bpe


@dataclass(frozen=True)
class Family:
    """What sets a family of models apart.

    Attributes:
        model_type: its architecture, as ``transformers`` calls it.
        settings: keys of its configuration.
        tokens: trains a tokenizer of its kind on texts, to a number of tokens, special ones first.
        tokenizer_class: the class that is to read its tokenizer, as the family's files name it.
        special: its special tokens.
        starts: whether the tokenizer puts the beginning-of-sequence token before each text.
        spare: rows of the embedding that stand for no token.
    """

    model_type: str
    settings: Mapping[str, Any]
    tokens: Callable[[Iterable[str], int, list[str]], "Tokenizer"]
    tokenizer_class: str
    special: Mapping[str, str]
    starts: bool = True
    spare: int = 0

    def save_tokenizer(
        self, folder: Path, texts: Iterable[str], size: int
    ) -> "PreTrainedTokenizerBase":
        """Train a tokenizer on ``texts`` to ``size`` tokens, and write it as the family's files."""
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=self.tokens(texts, size, list(dict.fromkeys(self.special.values()))),
            add_bos_token=self.starts,
            **self.special,
        )
        tokenizer.save_pretrained(folder)
        path = folder / "tokenizer_config.json"
        write_json(path, read_json(path) | {"tokenizer_class": self.tokenizer_class})
        return tokenizer


def _special(**texts: str) -> dict[str, str]:
    """Special tokens as ``transformers`` names them: ``eos_token`` for ``eos``."""
    return {f"{name}_token": text for name, text in texts.items()}


SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
GATED = SMALL | {"intermediate_size": 96}
# Two query heads share a key and a value head.
GROUPED = GATED | {"num_key_value_heads": 2}
PIECES = _special(unk="<unk>", bos="<s>", eos="</s>")

QWEN = partial(
    Family,
    tokens=byte_level,
    tokenizer_class="Qwen2Tokenizer",
    special=_special(eos="<|endoftext|>", pad="<|endoftext|>"),
    starts=False,
    spare=64,
)

FAMILIES = {
    # LLaMA and LLaMA-2.
    "llama": Family("llama", GATED, sentence_pieces, "LlamaTokenizer", PIECES),
    # With the rotary frequencies of 3.1, and a vocabulary that outweighs the blocks.
    "llama3": Family(
        "llama",
        GROUPED
        | {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
        byte_level,
        "PreTrainedTokenizerFast",
        _special(bos="<|begin_of_text|>", eos="<|end_of_text|>"),
        spare=1488,
    ),
    # Its window is shorter than the sequences that are trained and evaluated on.
    "mistral": Family(
        "mistral", GROUPED | {"sliding_window": 24}, sentence_pieces, "LlamaTokenizer", PIECES
    ),
    # DeepSeek-LLM: LLaMA's model, and a tokenizer of bytes under the name of LLaMA's.
    "deepseek": Family(
        "llama",
        GATED,
        byte_level,
        "LlamaTokenizerFast",
        _special(
            bos="<｜begin▁of▁sentence｜>", eos="<｜end▁of▁sentence｜>", pad="<｜end▁of▁sentence｜>"
        ),
        spare=128,
    ),
    # Biases on queries, keys and values, a tied head, and no beginning-of-sequence token.
    "qwen2": QWEN("qwen2", GROUPED | {"tie_word_embeddings": True}),
    # Learned positions, layer norms, biases everywhere, a tied head; one token begins and ends.
    "opt": Family(
        "opt",
        SMALL | {"ffn_dim": 128, "word_embed_proj_dim": 64},
        byte_level,
        "GPT2Tokenizer",
        _special(bos="</s>", eos="</s>", unk="</s>", pad="<pad>"),
        spare=7,
    ),
    # Norms of queries and keys, heads wider than the hidden states are for their number.
    "qwen3": QWEN("qwen3", GROUPED | {"head_dim": 32, "tie_word_embeddings": True}),
    # Windows in all blocks but some, norms on both sides of each part, scaled embeddings, and a
    # vocabulary that outweighs the blocks, in a tied head.
    "gemma3": Family(
        "gemma3_text",
        GATED
        | {
            "num_key_value_heads": 1,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": 24,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        sentence_pieces,
        "GemmaTokenizer",
        _special(pad="<pad>", eos="<eos>", bos="<bos>", unk="<unk>", mask="<mask>"),
        spare=1488,
    ),
    # OLMo 2: norms after attention and MLP, and of all queries and all keys.
    "olmo2": Family(
        "olmo2",
        GATED,
        byte_level,
        "GPT2Tokenizer",
        _special(bos="<|endoftext|>", eos="<|endoftext|>", pad="<|pad|>"),
        starts=False,
        spare=74,
    ),
    # Queries, keys and values are one matrix, gate and up another.
    "phi3": Family(
        "phi3",
        GROUPED | {"sliding_window": 24},
        sentence_pieces,
        "LlamaTokenizer",
        PIECES | _special(pad="<|endoftext|>"),
        spare=128,
    ),
    # GPT-NeoX and Pythia: attention and MLP side by side, queries, keys and values one matrix,
    # biases everywhere, positions in a quarter of each head.
    "gpt-neox": Family(
        "gpt_neox",
        SMALL | {"intermediate_size": 128},
        byte_level,
        "GPTNeoXTokenizer",
        _special(bos="<|endoftext|>", eos="<|endoftext|>", unk="<|endoftext|>", pad="<|padding|>"),
        starts=False,
        spare=32,
    ),
}
