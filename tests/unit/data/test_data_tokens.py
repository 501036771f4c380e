"""Calibration sequences and packed blocks against a plain transcription of their definition."""

import math

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.loss.loss_utils import ForCausalLMLoss

from bench.data.forms import DataError
from bench.data.items import document
from bench.data.splits import position
from bench.data.tokens import DOCUMENTS_AT_ONCE, Blocks, calibration, pack
from bench.origin import verify

WORDS = [f"w{number}" for number in range(50)]


def make_tokenizer(start: bool) -> PreTrainedTokenizerFast:
    """A token a word; with ``start`` a text begins with ``<s>``, as for LLaMA."""
    vocabulary = {word: index for index, word in enumerate(["<s>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if start:
        words.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def text(start: int, count: int) -> str:
    return " ".join(WORDS[(start + index) % len(WORDS)] for index in range(count))


def texts(count: int, length: int = 7) -> list[dict]:
    return [{"id": f"t{index}", "text": text(index, length)} for index in range(count)]


def prompts(count: int) -> list[dict]:
    return [
        {"id": f"p{index}", "prompt": text(index, 4), "response": " " + text(index + 9, 2)}
        for index in range(count)
    ]


def test_calibration_is_consecutive_text_without_overlap():
    tokenizer = make_tokenizer(start=True)
    items = texts(30)
    stream = [3 + (i + j) % 50 for i in range(30) for j in range(7)]
    windows = [stream[k * 10 : k * 10 + 10] for k in range(21)]
    drawn = calibration(items, tokenizer, samples=21, length=10, seed=0)
    assert drawn.dtype == torch.int64
    assert sorted(drawn.tolist()) == sorted(windows)
    few = calibration(items, tokenizer, samples=5, length=10, seed=0)
    assert few.tolist() == drawn[:5].tolist()
    other = calibration(items, tokenizer, samples=5, length=10, seed=1)
    assert few.tolist() != other.tolist()


def test_calibration_on_windows_of_long_documents():
    tokenizer = make_tokenizer(start=True)
    items = [{"id": f"t{n}", "text": text(n, 8 + n % 5)} for n in range(2 * DOCUMENTS_AT_ONCE)]
    settings = {"length": 10, "sampling": "documents"}
    drawn = calibration(items, tokenizer, samples=200, seed=0, **settings).tolist()
    # Documents of 11 and 12 words have 2 and 3 windows of 10.
    windows = {
        tuple(3 + (n + k + j) % 50 for j in range(10))
        for n in range(len(items))
        for k in range((0, 0, 0, 2, 3)[n % 5])
    }
    assert len(drawn) == 200
    assert {tuple(window) for window in drawn} <= windows
    assert calibration(items, tokenizer, samples=5, seed=0, **settings).tolist() == drawn[:5]
    assert calibration(items, tokenizer, samples=5, seed=1, **settings).tolist() != drawn[:5]
    long = sum(n % 5 > 2 for n in range(len(items)))
    with pytest.raises(DataError, match=f"{long} of {len(items)} documents are"):
        calibration(items, tokenizer, samples=long + 1, seed=0, **settings)


def test_calibration_tokenizes_no_more_documents_than_it_takes():
    tokenizer, asked = make_tokenizer(start=False), []

    def counting(texts, **settings):
        asked.extend(texts)
        return tokenizer(texts, **settings)

    items = texts(5 * DOCUMENTS_AT_ONCE, length=11)
    calibration(items, counting, samples=9, length=10, seed=0, sampling="documents")
    assert len(asked) == DOCUMENTS_AT_ONCE


def test_calibration_text_too_short():
    with pytest.raises(DataError, match="5 sequences of 10 tokens are 50 tokens; the text has 49"):
        calibration(texts(7), make_tokenizer(start=False), samples=5, length=10, seed=0)


def transcribed(mixture, *, start: bool, length: int, blocks: int, prompt_loss: bool, seed: int):
    """The same blocks, a token at a time."""
    queues = {
        name: sorted(items, key=lambda item: position(seed, item["id"]))
        for name, (items, _) in mixture.items()
    }
    used = dict.fromkeys(mixture, 0)
    ids, labels = [], []
    while len(ids) < length * blocks:
        behind = None
        for name, (_, weight) in mixture.items():
            if behind is None or used[name] / weight < used[behind] / mixture[behind][1]:
                behind = name
        given, rest = document(queues[behind].pop(0))
        if start:
            ids.append(0)
            labels.append(-100 if given and not prompt_loss else 0)
            used[behind] += 1
        for counts, part in ((not given or prompt_loss, given), (True, rest)):
            for word in part.split():
                ids.append(3 + WORDS.index(word))
                labels.append(ids[-1] if counts else -100)
                used[behind] += 1
        ids.append(1)
        labels.append(1)
        used[behind] += 1
    rows = range(0, length * blocks, length)
    return [ids[i : i + length] for i in rows], [labels[i : i + length] for i in rows]


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("prompt_loss", [False, True])
@pytest.mark.parametrize("seed", [0, 3])
def test_pack_is_its_definition(start, prompt_loss, seed):
    mixture = {"texts": (texts(300), 2.0), "prompts": (prompts(400), 1.0)}
    options = {"length": 16, "blocks": 100, "prompt_loss": prompt_loss, "seed": seed}
    packed = pack(mixture, make_tokenizer(start), **options)
    ids, labels = transcribed(mixture, start=start, **options)
    assert packed.input_ids.dtype == packed.labels.dtype == torch.int64
    assert packed.input_ids.tolist() == ids
    assert packed.labels.tolist() == labels
    # Of logits that are all the same, each token that counts has the loss log(vocabulary).
    same = torch.zeros(100, 16, 2)
    loss = ForCausalLMLoss(same, packed.labels.clamp(max=1), 2, num_items_in_batch=1)
    assert packed.counts["loss_tokens"] == pytest.approx(loss.item() / math.log(2), abs=0.1)
    assert packed.counts["loss_tokens"] == sum(x != -100 for row in labels for x in row[1:])
    assert sum(packed.counts["documents"].values()) == sum(row.count(1) for row in ids) + (
        ids[-1][-1] != 1
    )
    # More documents than are tokenised at once.
    assert packed.counts["documents"]["prompts"] + 100 < DOCUMENTS_AT_ONCE
    shares = packed.counts["document_tokens"]
    assert shares["texts"] / shares["prompts"] == pytest.approx(2, rel=0.05)


def test_tokenising_in_groups_changes_nothing(monkeypatch):
    mixture = {"texts": (texts(40), 1.0), "prompts": (prompts(40), 1.0)}
    options = {"length": 8, "blocks": 40, "prompt_loss": False, "seed": 0}
    whole = pack(mixture, make_tokenizer(start=True), **options)
    monkeypatch.setattr("bench.data.tokens.DOCUMENTS_AT_ONCE", 3)
    grouped = pack(mixture, make_tokenizer(start=True), **options)
    assert torch.equal(whole.input_ids, grouped.input_ids)
    assert torch.equal(whole.labels, grouped.labels)


def test_more_blocks_begin_with_the_same_blocks():
    mixture = {"texts": (texts(100), 1.0)}
    options = {"length": 8, "prompt_loss": False, "seed": 0}
    few = pack(mixture, make_tokenizer(start=False), blocks=10, **options)
    more = pack(mixture, make_tokenizer(start=False), blocks=20, **options)
    assert torch.equal(few.input_ids, more.input_ids[:10])


def test_a_set_that_is_used_up_is_named():
    mixture = {"texts": (texts(1000), 1.0), "prompts": (prompts(10), 1.0)}
    with pytest.raises(DataError, match=r"'prompts' \(10 items, 70 tokens\) .* of 100 blocks of 8"):
        pack(
            mixture,
            make_tokenizer(start=False),
            length=8,
            blocks=100,
            prompt_loss=False,
            seed=0,
        )


def test_blocks_of_prompts_alone_are_refused():
    """The first prompt has four tokens; the response after it is the first to count."""
    mixture, tokenizer = {"prompts": (prompts(10), 1.0)}, make_tokenizer(start=False)

    def counted(length: int, prompt_loss: bool) -> int:
        options = {"length": length, "prompt_loss": prompt_loss, "blocks": 1, "seed": 0}
        return pack(mixture, tokenizer, **options).counts["loss_tokens"]

    with pytest.raises(DataError, match=r"^repair text: 1 blocks of 4 tokens are of prompts alone"):
        counted(4, prompt_loss=False)
    assert counted(5, prompt_loss=False) == 1
    assert counted(4, prompt_loss=True) == 3


@pytest.mark.parametrize(("prompt", "response"), [("w1 w2", " w3 w4"), ("w1 w2 ", "w3 w4")])
def test_all_of_a_response_counts_wherever_the_space_before_it_stands(prompt, response):
    """A space is a token with the word behind it, and alone where a text ends."""
    pieces = ["</s>", "▁", *(f"▁{word}" for word in WORDS)]
    words = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate(pieces)}))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")
    items = [{"id": str(index), "prompt": prompt, "response": response} for index in range(2)]
    options = {"length": 5, "blocks": 2, "prompt_loss": False, "seed": 0}
    packed = pack({"prompts": (items, 1.0)}, tokenizer, **options)
    assert packed.input_ids.tolist() == [[3, 4, 5, 6, 0]] * 2
    assert packed.labels.tolist() == [[-100, -100, 5, 6, 0]] * 2


def test_tokenizer_without_an_end():
    tokenizer = make_tokenizer(start=False)
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="no end-of-sequence token"):
        pack({"t": (texts(9), 1.0)}, tokenizer, length=8, blocks=1, prompt_loss=False, seed=0)


def test_blocks_are_saved_with_their_counts(tmp_path):
    mixture = {"texts": (texts(50), 1.0), "prompts": (prompts(50), 1.0)}
    packed = pack(
        mixture, make_tokenizer(start=True), length=8, blocks=12, prompt_loss=False, seed=0
    )
    path, made_from = tmp_path / "blocks.safetensors", {"model": "0" * 64}
    packed.save(path, made_from)
    assert {"blocks.json", "blocks.safetensors"} <= {path.name for path in tmp_path.iterdir()}
    assert verify(path)["made_from"] == made_from
    loaded = Blocks.load(tmp_path / "blocks.safetensors")
    assert torch.equal(loaded.input_ids, packed.input_ids)
    assert torch.equal(loaded.labels, packed.labels)
    assert loaded.counts == packed.counts
