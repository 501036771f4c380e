import json
from random import Random

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

WORDS = ["the", "a", "cup", "bag", "key", "bird", "house", "is", "was", "red", "old", "not", "in"]
WORDS += ["under", "why", "who", "it's", "'so'", "heavy"]


def sentence(rng: Random, low: int, high: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))


@pytest.fixture(scope="session")
def tokenizer():
    """Byte-level BPE with a start token that it does not add itself."""
    rng = Random(0)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        [sentence(rng, 8, 16) for _ in range(50)],
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        show_progress=False,
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


@pytest.fixture(scope="session")
def make_model(tokenizer):
    """A tiny random model in float32 of an architecture, by its ``model_type``."""

    def make(architecture: str = "llama", *, attention: str = "sdpa", **settings):
        sizes = {
            "hidden_size": 32,
            "intermediate_size": 48,
            "ffn_dim": 48,
            "word_embed_proj_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4 if architecture in ("opt", "gpt_neox", "gpt2") else 2,
            "head_dim": 8,
            "max_position_embeddings": 256,
            # Wide enough for attention to matter to the predictions.
            "initializer_range": 0.3,
            "init_std": 0.3,
        }
        config = AutoConfig.for_model(architecture, **(sizes | settings))
        config.vocab_size = len(tokenizer)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(
                config, dtype=torch.float32, attn_implementation=attention
            )
        return model.eval()

    return make


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Items of each task in `config/tasks`: one JSON lines file a task."""
    rng = Random(1)
    folder = tmp_path_factory.mktemp("items")
    items = {
        "social_iqa": [question(rng, i, 3) for i in range(12)],
        "science": [question(rng, i, 4) for i in range(12)],
        "winogrande": [blank(rng, i) for i in range(12)],
        "wiki": [{"id": f"text-{i}", "text": sentence(rng, 20, 90)} for i in range(6)],
    }
    for name, rows in items.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return {name: folder / f"{name}.jsonl" for name in items}


def question(rng: Random, index: int, choices: int) -> dict:
    return {
        "id": f"question-{index}",
        "question": sentence(rng, 4, 12) + "?",
        "choices": [sentence(rng, 1, 5) for _ in range(choices)],
        "answer": rng.randrange(choices),
    }


def blank(rng: Random, index: int) -> dict:
    return {
        "id": f"blank-{index}",
        "sentence": f"{sentence(rng, 3, 8)} the _ {sentence(rng, 2, 5)}.",
        "options": ["cup", "old bird"],
        "answer": rng.randrange(2),
    }


@pytest.fixture(scope="session")
def log_likelihood(tokenizer):
    """Of a continuation after its context, out of the plain logits of one sequence."""

    def score(model, context: str, continuation: str) -> float:
        start = len(tokenizer.encode(context))
        tokens = torch.tensor([tokenizer.encode(context + continuation)])
        with torch.no_grad():
            predicted = model(tokens).logits[0].log_softmax(-1)
        return sum(predicted[i - 1, tokens[0, i]].item() for i in range(start, tokens.shape[1]))

    return score
