import inspect
from functools import reduce
from itertools import pairwise
from operator import or_
from random import Random

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import LlamaForCausalLM

from bench.data.forms import DataError
from bench.evaluation.packed import (
    TELL_TALES,
    PackedLM,
    PrefixTree,
    cut_by,
    pack,
    rounding,
    tell_tale,
)
from bench.models.loading import load_model, load_tokenizer

ARCHITECTURES = ["llama", "mistral", "qwen2", "qwen3", "opt", "gpt_neox", "gpt2"]
# Shorter than most requests; Qwen's and Gemma's differ by block.
WINDOWS = {
    "mistral": {"sliding_window": 5},
    "qwen2": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "gemma3_text": {"sliding_window": 5, "sliding_window_pattern": 2},
}


def pairs(*arguments):
    return [Instance("loglikelihood", {}, pair, idx=0) for pair in arguments]


def texts(*arguments):
    return [Instance("loglikelihood_rolling", {}, (text,), idx=0) for text in arguments]


# Answers of one question, the two readings of one sentence, an answer of one token, an answer that
# begins another, the same request twice, and no context at all.
QUESTIONS = pairs(
    ("why is the cup red?", " it's old"),
    ("why is the cup red?", " it's not"),
    ("why is the cup red?", " it's old and heavy"),
    ("why is the cup red?", " in"),
    ("the bag was not in the house, the bird", " is under it."),
    ("the bag was not in the house, the key", " is under it."),
    ("why is the cup red?", " it's old"),
    ("", "the bird"),
    ("the bird was heavy in the old house under the red key, so why?", " who"),
)
TEXTS = texts(
    "the cup is red",
    "the cup is red and the bag is old, " * 4,
    "who was not in the house",
    "the cup is red",
)


def assert_same_scores(found, expected):
    assert [is_greedy for _, is_greedy in found] == [is_greedy for _, is_greedy in expected]
    values = [value for value, _ in found]
    assert values == pytest.approx([value for value, _ in expected], rel=1e-4)


class CountTokens:
    """How many tokens a model reads, and in how many passes."""

    def __init__(self, model):
        self.passes = []
        model.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, model, args, kwargs):
        self.passes.append(kwargs["input_ids"].numel())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_scores_as_one_request_a_row(make_model, tokenizer, architecture, attention):
    model = make_model(architecture, attention=attention)
    plain, packed = HFLM(model, tokenizer=tokenizer), PackedLM(model, tokenizer, batch_tokens=64)
    assert_same_scores(packed.loglikelihood(QUESTIONS), plain.loglikelihood(QUESTIONS))
    assert packed.loglikelihood_rolling(TEXTS) == pytest.approx(
        plain.loglikelihood_rolling(TEXTS), rel=1e-4
    )


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", WINDOWS)
def test_same_scores_in_an_attention_window(make_model, tokenizer, architecture, attention):
    model = make_model(architecture, attention=attention, **WINDOWS[architecture])
    plain, packed = HFLM(model, tokenizer=tokenizer), PackedLM(model, tokenizer, batch_tokens=64)
    found = packed.loglikelihood(QUESTIONS)
    assert_same_scores(found, plain.loglikelihood(QUESTIONS))
    assert packed.loglikelihood_rolling(TEXTS) == pytest.approx(
        plain.loglikelihood_rolling(TEXTS), rel=1e-4
    )
    unlimited = PackedLM(make_model(architecture), tokenizer).loglikelihood(QUESTIONS)
    assert found[0] != pytest.approx(unlimited[0], rel=1e-2)


def test_every_family_scores_as_one_request_a_row(family):
    tokenizer = load_tokenizer(family)
    model = load_model(family, torch.device("cpu"), torch.float32)
    plain, packed = HFLM(model, tokenizer=tokenizer), PackedLM(model, tokenizer, batch_tokens=64)
    assert_same_scores(packed.loglikelihood(QUESTIONS), plain.loglikelihood(QUESTIONS))
    plain = HFLM(model, tokenizer=tokenizer, add_bos_token=False)
    assert packed.loglikelihood_rolling(TEXTS) == pytest.approx(
        plain.loglikelihood_rolling(TEXTS), rel=1e-4
    )


@pytest.mark.parametrize("batch_tokens", [1, 16, 10_000])
def test_size_of_a_pass_does_not_change_scores(make_model, tokenizer, batch_tokens):
    model = make_model()
    expected = PackedLM(model, tokenizer, batch_tokens=100).loglikelihood(QUESTIONS)
    found = PackedLM(model, tokenizer, batch_tokens=batch_tokens).loglikelihood(QUESTIONS)
    assert_same_scores(found, expected)


def test_greedy_answers_are_recognised(make_model, tokenizer):
    model = make_model()
    context = tokenizer.encode("the cup is", return_tensors="pt")
    greedy = model.generate(context, max_new_tokens=3, do_sample=False, pad_token_id=0)[0, -3:]
    wrong = greedy.clone()
    wrong[1] = (wrong[1] + 1) % len(tokenizer)
    requests = [(None, context[0].tolist(), answer.tolist()) for answer in (greedy, wrong)]
    scores = PackedLM(model, tokenizer)._loglikelihood_tokens(requests)
    assert [is_greedy for _, is_greedy in scores] == [True, False]


def test_long_requests_lose_their_beginning(make_model, tokenizer):
    model = make_model()
    plain = HFLM(model, tokenizer=tokenizer, max_length=12)
    packed = PackedLM(model, tokenizer, max_length=12)
    assert_same_scores(packed.loglikelihood(QUESTIONS), plain.loglikelihood(QUESTIONS))
    assert packed.loglikelihood_rolling(TEXTS) == pytest.approx(
        plain.loglikelihood_rolling(TEXTS), rel=1e-4
    )


def test_each_prefix_is_computed_once(make_model, tokenizer):
    model = make_model()
    lm = PackedLM(model, tokenizer, batch_tokens=10_000)
    prefixes, lengths = set(), []
    for context, answer in (request.args for request in QUESTIONS):
        tokens = tokenizer.encode((context or tokenizer.bos_token) + answer)
        prefixes |= {tuple(tokens[:end]) for end in range(1, len(tokens))}
        lengths.append(len(tokens) - 1)
    count = CountTokens(model)
    lm.loglikelihood(QUESTIONS)
    together, *alone = count.passes
    assert together == len(prefixes)
    # A few requests are read alone, too.
    assert 0 < len(alone) <= TELL_TALES
    assert set(alone) <= set(lengths)


def test_model_without_a_choice_of_logits(make_model, tokenizer):
    class AllLogits(LlamaForCausalLM):
        def forward(self, input_ids, attention_mask=None, position_ids=None, use_cache=None):
            return super().forward(input_ids, attention_mask, position_ids, use_cache=use_cache)

    model = make_model()
    expected = PackedLM(model, tokenizer).loglikelihood(QUESTIONS)
    model.__class__ = AllLogits
    assert "logits_to_keep" not in inspect.signature(model.forward).parameters
    assert_same_scores(PackedLM(model, tokenizer).loglikelihood(QUESTIONS), expected)


def test_start_token_of_the_tokenizer_is_context_only(make_model, tokenizer, monkeypatch):
    model = make_model()
    without = HFLM(model, tokenizer=tokenizer, add_bos_token=False).loglikelihood_rolling(TEXTS)
    encode = tokenizer.encode

    def encode_with_start(text, add_special_tokens=True, **kwargs):
        tokens = encode(text, add_special_tokens=False, **kwargs)
        return [tokenizer.bos_token_id] * add_special_tokens + tokens

    monkeypatch.setattr(tokenizer, "encode", encode_with_start)
    lm = PackedLM(model, tokenizer)
    assert lm.loglikelihood_rolling(TEXTS) == pytest.approx(without, rel=1e-4)
    assert lm.encode_text("the cup")[0] != tokenizer.bos_token_id
    plain = HFLM(model, tokenizer=tokenizer)
    assert_same_scores(lm.loglikelihood(QUESTIONS), plain.loglikelihood(QUESTIONS))


def test_results_reach_the_cache_of_lm_eval(make_model, tokenizer):
    class Recorder(dict):
        def add_partial(self, kind, key, value):
            self[kind, key] = value

    lm = PackedLM(make_model(), tokenizer)
    lm.set_cache_hook(Recorder())
    scores, totals = lm.loglikelihood(QUESTIONS), lm.loglikelihood_rolling(TEXTS)
    assert lm.cache_hook == {
        **{("loglikelihood", r.args): s for r, s in zip(QUESTIONS, scores, strict=True)},
        **{("loglikelihood_rolling", r.args): t for r, t in zip(TEXTS, totals, strict=True)},
    }


def test_prefix_tree_against_pairwise_comparison():
    rng = Random(0)
    sequences = [tuple(rng.choices(range(3), k=rng.randint(1, 6))) for _ in range(30)]
    tree = PrefixTree()
    prefixes = {}
    for sequence in sequences:
        missing, before = tree.missing(sequence), len(tree)
        for end, node in enumerate(tree.add(sequence), start=1):
            assert prefixes.setdefault(node, sequence[:end]) == sequence[:end]
        assert len(tree) - before == missing
    tokens, positions, visible = tree.arrays()
    assert len(set(prefixes.values())) == len(tree) == len(tokens)
    for i, mine in prefixes.items():
        assert (tokens[i], positions[i]) == (mine[-1], len(mine) - 1)
        for j, other in prefixes.items():
            assert visible[i, j] == (mine[: len(other)] == other)


def test_trees_hold_all_sequences_within_the_budget():
    rng = Random(0)
    sequences = [rng.choices(range(2), k=rng.randint(1, 9)) for _ in range(60)]
    sequences.append([7] * 40)
    trees = pack(sequences, 20)
    assert sorted(index for _, paths in trees for index in paths) == list(range(61))
    for tree, paths in trees:
        assert len(tree) <= 20 or len(paths) == 1
        tokens = tree.arrays()[0]
        for index, path in paths.items():
            assert tokens[path].tolist() == sequences[index]
    # No tree could have taken the first sequence of the next one.
    for (tree, _), (_, following) in pairwise(trees):
        assert len(tree) + tree.missing(sequences[next(iter(following))]) > 20


def test_trees_do_not_depend_on_the_order_of_requests():
    rng = Random(0)
    sequences = [tuple(rng.choices(range(3), k=rng.randint(1, 9))) for _ in range(60)]
    shuffled = rng.sample(sequences, k=len(sequences))

    def contents(sequences):
        return [[sequences[index] for index in paths] for _, paths in pack(sequences, 20)]

    assert contents(sequences) == contents(shuffled)


def test_nothing_to_score(make_model, tokenizer):
    lm = PackedLM(make_model(), tokenizer)
    assert lm.loglikelihood([]) == []
    assert lm.loglikelihood_rolling(texts("")) == [0.0]


def of_plain_logits(model, tokenizer, requests):
    """Log-likelihoods from one plain forward pass a request."""
    found = []
    for context, answer in (request.args for request in requests):
        context = context or tokenizer.bos_token
        tokens = tokenizer.encode(context + answer)
        with torch.no_grad():
            log_probs = model(torch.tensor([tokens])).logits[0].float().log_softmax(-1)
        predicted = range(len(tokenizer.encode(context)), len(tokens))
        found.append(sum(log_probs[i - 1, tokens[i]].item() for i in predicted))
    return found


# Layers that do not see what the mask and the positions say: a window that counts columns, a slope
# by the column, a state, a convolution, a window that is named otherwise.
BY_THEMSELVES = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "bloom": {"n_head": 4, "n_layer": 2},
    "mpt": {},
    "mamba": {},
    "rwkv": {},
    "falcon_h1": {
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_state": 16,
        "mamba_chunk_size": 16,
    },
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "llama4_text": {"attention_chunk_size": 5},
}
AS_TOLD = {"llama": {}, "opt": {}, **WINDOWS}


@pytest.mark.parametrize("architecture", [*AS_TOLD, *BY_THEMSELVES])
def test_scores_are_those_of_plain_logits(make_model, tokenizer, architecture, capsys):
    settings = (AS_TOLD | BY_THEMSELVES)[architecture]
    model = make_model(architecture, attention="eager", **settings)
    lm = PackedLM(model, tokenizer, batch_tokens=4096)
    found = [value for value, _ in lm.loglikelihood(QUESTIONS, disable_tqdm=True)]
    assert found == pytest.approx(of_plain_logits(model, tokenizer, QUESTIONS), rel=1e-5)
    said = capsys.readouterr().err.splitlines()
    if architecture in AS_TOLD:
        assert (lm.scoring, said) == ("packed", [])
    else:
        (line,) = [line for line in said if "one request a row" in line]
        assert line.startswith(type(model).__name__)
        assert lm.scoring == "single"


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "gemma3_text"])
def test_rounding_of_bfloat16_is_no_other_score(make_model, tokenizer, architecture):
    model = make_model(architecture, **WINDOWS.get(architecture, {})).to(torch.bfloat16)
    lm = PackedLM(model, tokenizer, batch_tokens=4096)
    alone = PackedLM(model, tokenizer, batch_tokens=0)
    found, expected = ([value for value, _ in one.loglikelihood(QUESTIONS)] for one in (lm, alone))
    assert found != expected
    assert lm.scoring == "packed"


@pytest.mark.parametrize("architecture", ["gpt_neo", "falcon_h1"])
def test_other_scores_are_no_rounding_of_bfloat16(make_model, tokenizer, architecture):
    settings = BY_THEMSELVES[architecture]
    model = make_model(architecture, attention="eager", **settings).to(torch.bfloat16)
    lm = PackedLM(model, tokenizer, batch_tokens=4096)
    lm.loglikelihood(QUESTIONS)
    assert lm.scoring == "single"


def test_rounding_of_a_model_is_what_tokens_behind_a_request_change(
    make_model, tokenizer, monkeypatch
):
    # A model of more layers, or another kernel, rounds more than is expected of its dtype.
    model = make_model().to(torch.bfloat16)
    monkeypatch.setattr("bench.evaluation.packed.rounding", lambda dtype, largest: 3e-3)
    lm = PackedLM(model, tokenizer, batch_tokens=4096)
    lm.loglikelihood(QUESTIONS)
    assert lm.scoring == "packed"
    monkeypatch.setattr("bench.evaluation.packed.rounding", lambda dtype, largest: 1e-3)
    lm.loglikelihood(QUESTIONS)
    assert lm.scoring == "single"


def test_rounding_grows_with_the_logits():
    # Between 64 and 128 numbers in bfloat16 lie 1/2 apart, and are rounded by up to 1/4.
    assert 0.25 <= rounding(torch.bfloat16, 100.0) == pytest.approx(100 / 2**8)
    assert rounding(torch.bfloat16, 1.0) == pytest.approx(2**-3.5)


def test_a_window_that_cuts_no_request_is_no_reason(make_model, tokenizer):
    model = make_model("gpt_neo", attention="eager", **BY_THEMSELVES["gpt_neo"])
    # Trees that are no wider than the window.
    lm = PackedLM(model, tokenizer, batch_tokens=8)
    found = [value for value, _ in lm.loglikelihood(QUESTIONS)]
    assert found == pytest.approx(of_plain_logits(model, tokenizer, QUESTIONS), rel=1e-5)
    assert lm.scoring == "packed"


def test_windows_that_cut_a_request_against_all_pairs():
    rng = Random(0)
    sequences = [rng.choices(range(3), k=rng.randint(2, 9)) for _ in range(40)]
    for _, paths in pack(sequences, 60):
        for path in paths.values():
            predicted = rng.randint(1, len(path))
            first = len(path) - predicted
            # Column -1 stands for all that is before the beginning of the sequence.
            columns = [-1, *path[: first + 1]]
            expected = {
                window
                for window in range(100)
                for back, column in enumerate(reversed(columns))
                if 0 < back < window <= columns[-1] - column
            }
            found = cut_by(path, predicted)
            assert {window for window in range(100) if found >> window & 1} == expected


def test_chosen_requests_show_the_windows_that_cut_any():
    rng = Random(0)
    shared = rng.choices(range(9), k=30)
    questions = [shared + rng.choices(range(9), k=rng.randint(3, 20)) for _ in range(12)]
    sequences = [q + rng.choices(range(9), k=rng.randint(1, 6)) for q in questions for _ in "abc"]
    targets = [sequence[-2:] for sequence in sequences]
    trees = pack(sequences, 4096)
    chosen = tell_tale(trees, targets)
    assert sum(map(len, chosen.values())) <= TELL_TALES

    def shown(indices):
        paths = trees[0][1]
        return reduce(or_, (cut_by(paths[index], 2) for index in indices))

    missed = shown(range(len(sequences))) & ~shown(chosen[0])
    assert missed.bit_count() <= 0.02 * shown(range(len(sequences))).bit_count()


def test_nothing_is_read_twice_where_nothing_is_packed(make_model, tokenizer):
    model = make_model()
    lm = PackedLM(model, tokenizer, batch_tokens=10_000)
    count = CountTokens(model)
    # One begins the other: a single sequence.
    lm._loglikelihood_tokens([(None, [1, 2], [3]), (None, [1, 2], [3, 4, 5])])
    assert count.passes == [4]


def test_more_context_than_the_model_takes(make_model, tokenizer):
    with pytest.raises(DataError, match="context_length = 257: the model takes at most 256"):
        PackedLM(make_model(), tokenizer, max_length=257)


@pytest.mark.parametrize(("context", "continuation"), [([], [1]), ([1], []), ([1], [2] * 9)])
def test_request_that_cannot_be_scored(make_model, tokenizer, context, continuation):
    lm = PackedLM(make_model(), tokenizer, max_length=8)
    with pytest.raises(DataError, match=f"{len(context)} context and {len(continuation)} "):
        lm._loglikelihood_tokens([(None, context, continuation)])


@pytest.mark.parametrize(("context", "continuation"), [([999], [1, 1]), ([1], [1, 999])])
def test_token_without_a_row(make_model, tokenizer, context, continuation):
    lm = PackedLM(make_model(), tokenizer)
    rows = len(tokenizer)
    with pytest.raises(DataError, match=f"has id 999, and the embedding {rows} rows"):
        lm._loglikelihood_tokens([(None, context, continuation)])


def test_the_last_row_is_that_of_a_token_and_the_next_of_none(make_model, tokenizer):
    lm, rows = PackedLM(make_model(), tokenizer), len(tokenizer)
    assert len(lm._loglikelihood_tokens([(None, [rows - 1], [rows - 1])])) == 1
    with pytest.raises(DataError, match=f"has id {rows}, and the embedding {rows} rows"):
        lm._loglikelihood_tokens([(None, [rows], [1])])


def test_diverged_model(make_model, tokenizer):
    model = make_model()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="nan"):
        PackedLM(model, tokenizer).loglikelihood(QUESTIONS)


def test_generation_in_batches(make_model, tokenizer):
    model = make_model(max_position_embeddings=512)
    contexts = ["why is the cup red?", "the bag", "the bird was heavy in the old house"]
    settings = {"until": ["key"], "max_gen_toks": 12, "do_sample": False}
    requests = [
        Instance("generate_until", {}, (context, dict(settings)), idx=0) for context in contexts
    ]
    expected = HFLM(model, tokenizer=tokenizer).generate_until(requests)
    assert len(set(expected)) > 1
    for batch_tokens, size in ((100, 1), (900, 3)):
        lm = PackedLM(model, tokenizer, batch_tokens=batch_tokens)
        assert lm.generate_until(requests) == expected
        assert lm.batch_size == size
