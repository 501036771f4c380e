"""The training set-up that all repairs share."""

import math
from copy import deepcopy

import pytest
import torch
from tiny import tiny_llama
from torch import nn
from transformers import CTRLConfig, CTRLLMHeadModel, LlamaForCausalLM, TrainingArguments

from baselines.pruning import prune
from baselines.repair import build_repair
from baselines.repair.full import Full
from baselines.repair.own_loop import OwnLoop
from bench.config.training import Training
from bench.data.tokens import Blocks
from bench.models.loading import SHORT, short_attention
from bench.tools.measured_training import SavedForBackward
from bench.training.loss import (
    SummedLoss,
    counted_logits,
    cross_entropy,
    dense_logits,
    distillation_loss,
    divergence,
    next_token_loss,
    validation_loss,
)
from bench.training.train import Served, train

SETTINGS = Training(mixture=[{"data": "x"}], length=8, batch_size=2, steps=6)


def tiny() -> LlamaForCausalLM:
    model = tiny_llama()
    prune(model, "magnitude", sparsity=0.5)
    return model


def blocks(count: int = SETTINGS.blocks) -> Blocks:
    ids = torch.randint(0, 32, (count, 8), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[:, :3] = -100
    return Blocks(ids, labels)


def run(settings: Training = SETTINGS, seed: int = 0, **options):
    repair = build_repair("full", **{"learning_rate": 1e-2, **options})
    model = repair.wrap(tiny(), seed=seed)
    report = train(model, repair, blocks(settings.blocks), settings, seed=seed, dtype=torch.float32)
    return repair.merge(model, lambda _: None), report


@pytest.mark.parametrize("rows", [1, 15, 16, 40])
def test_cross_entropy_is_torchs(rows):
    generator = torch.Generator().manual_seed(rows)
    logits = torch.randn(rows, 11, generator=generator, dtype=torch.float64).float()
    labels = torch.randint(0, 11, (rows,), generator=generator)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = 0.5 * SummedLoss.apply(ours, labels, cross_entropy)
    expected = 0.5 * nn.functional.cross_entropy(theirs, labels, reduction="sum")
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("rows", [1, 15, 16, 40])
def test_divergence_is_torchs(rows):
    generator = torch.Generator().manual_seed(rows)
    logits, dense = torch.randn(2, rows, 11, generator=generator)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = 0.5 * SummedLoss.apply(ours, dense, divergence)
    log_p, log_q = dense.log_softmax(1), theirs.log_softmax(1)
    expected = 0.5 * nn.functional.kl_div(log_q, log_p, reduction="sum", log_target=True)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_what_is_distilled_is_the_dense_distribution_of_the_tokens_that_count():
    model, dense, batch = tiny(), tiny_llama(), blocks(4)
    inputs = {"input_ids": batch.input_ids, "labels": batch.labels}
    with counted_logits(model, batch.labels):
        outputs = model(input_ids=batch.input_ids)
    loss = distillation_loss(outputs, batch.labels, dense=dense_logits(dense, inputs))
    p, q = (m(input_ids=batch.input_ids).logits[:, :-1].softmax(2) for m in (dense, model))
    each = (p * (p / q).log()).sum(2)
    torch.testing.assert_close(loss, each[batch.labels[:, 1:] != -100].mean())


@pytest.mark.parametrize("method", ["full", "lora", "seft"])
def test_a_distilling_training_comes_nearer_to_the_dense_model(method):
    options = {"seft": {"match_rank": 2, "evolve_every": 2, "accumulate_steps": 1}}.get(method, {})
    repair = build_repair(method, objective="distill", learning_rate=2e-2, **options)
    assert repair.needs_dense
    dense = tiny_llama(initializer_range=0.3)
    model = deepcopy(dense)
    prune(model, "magnitude", sparsity=0.5)
    few = blocks(2)
    same = Blocks(*(tensor.repeat(SETTINGS.steps, 1) for tensor in (few.input_ids, few.labels)))
    trained = repair.wrap(model, seed=0)
    report = train(trained, repair, same, SETTINGS, seed=0, dtype=torch.float32, dense=dense)
    losses = [entry["loss"] for entry in report.log]
    assert 0 < losses[-1] < 0.9 * losses[0]
    expected = tiny_llama(initializer_range=0.3).state_dict()
    assert all(torch.equal(expected[name], found) for name, found in dense.state_dict().items())


def test_loss_is_the_models_own():
    model, batch = tiny(), blocks(4)
    outputs = model(input_ids=batch.input_ids, labels=batch.labels)
    with counted_logits(model, batch.labels):
        ours = model(input_ids=batch.input_ids)
    assert ours.logits.shape == (4 * 5, 32)
    torch.testing.assert_close(next_token_loss(ours, batch.labels), outputs.loss)
    assert validation_loss(model, batch, 3) == pytest.approx(outputs.loss.item(), rel=1e-5)


def test_the_loss_is_a_mean_over_what_is_predicted_whatever_the_class_is_called():
    """The first token of a block has a label, and transformers does not know that CTRL shifts."""
    small = {"n_embd": 16, "n_layer": 2, "n_head": 2, "dff": 24, "n_positions": 8}
    torch.manual_seed(0)
    model = CTRLLMHeadModel(CTRLConfig(vocab_size=32, resid_pdrop=0, embd_pdrop=0, **small))
    prune(model, "magnitude", sparsity=0.5)
    settings = SETTINGS.model_copy(update={"steps": 1, "gradient_accumulation": 2})
    ids = blocks(settings.blocks).input_ids
    logits = model(input_ids=ids).logits[:, :-1]
    expected = nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:]).item()
    repair = build_repair("full", learning_rate=1e-2)
    text = Blocks(ids, ids.clone())
    model = repair.wrap(model, seed=0)
    report = train(model, repair, text, settings, seed=0, dtype=torch.float32)
    assert report.log[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_validation_split_of_which_no_token_counts_is_refused():
    ids = torch.zeros(4, 6, dtype=torch.int64)
    labels = torch.full_like(ids, -100)
    labels[:, 0] = 0  # Nothing predicts it.
    message = "^validation: none of the 4 blocks has a token after its first that counts"
    with pytest.raises(ValueError, match=message) as error:
        validation_loss(None, Blocks(ids, labels), 2)
    assert "\n" not in str(error.value)


def test_a_batch_in_which_nothing_counts_has_no_loss_and_no_gradient():
    model, batch = tiny(), blocks(2)
    labels = torch.full_like(batch.labels, -100)
    with counted_logits(model, labels):
        loss = next_token_loss(model(input_ids=batch.input_ids), labels)
    loss.backward()
    assert loss == 0
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_budget_and_schedule():
    _, report = run()
    assert report.steps == 6
    assert report.tokens == 6 * 2 * 8
    assert report.loss_tokens == 6 * 2 * 5
    rates = [entry["learning_rate"] for entry in report.log]
    assert len(rates) == 6
    # One step of warm-up from 0, then half a cosine from the peak towards a tenth of it.
    expected = [0.0] + [1e-2 * (0.1 + 0.9 * (1 + math.cos(math.pi * k / 5)) / 2) for k in range(5)]
    assert rates == pytest.approx(expected)


def test_every_block_is_seen_once_in_an_order_that_the_seed_moves(monkeypatch):
    seen = []
    original = Served.__getitem__
    monkeypatch.setattr(
        Served, "__getitem__", lambda self, i: (seen.append(i), original(self, i))[1]
    )
    run(seed=0)
    first = list(seen)
    seen.clear()
    run(seed=1)
    assert sorted(first) == sorted(seen) == list(range(SETTINGS.blocks))
    assert first != seen


@pytest.mark.parametrize("method", ["full", "reconstruct"])
def test_gpus_that_lie_idle_change_nothing(method, monkeypatch):
    def trained() -> tuple[dict, str]:
        repair = build_repair(method, learning_rate=1e-2)
        model = repair.wrap(tiny(), seed=0)
        dense = tiny_llama()
        report = train(model, repair, blocks(), SETTINGS, seed=0, dtype=torch.float32, dense=dense)
        return repair.merge(model, lambda _: None).state_dict(), report.batch_order

    expected, order = trained()
    prepare = TrainingArguments.__post_init__

    def on_an_accelerator(arguments) -> None:
        arguments.use_cpu = False
        prepare(arguments)

    # The Trainer counts them, whichever of them the model is on.
    monkeypatch.setattr(TrainingArguments, "__post_init__", on_an_accelerator)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found, found_order = trained()
    assert found_order == order
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_one_seed_one_result():
    (first, _), (again, _), (other, _) = run(seed=0), run(seed=0), run(seed=1)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )
    assert any(
        not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    )


def test_accumulated_batches_equal_a_large_one():
    small = SETTINGS.model_copy(update={"batch_size": 1, "gradient_accumulation": 2})
    (large, _), (accumulated, _) = run(), run(small)
    for a, b in zip(large.parameters(), accumulated.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


RECOMPUTING = SETTINGS.model_copy(update={"activation_checkpointing": True})


def test_recomputed_activations_give_the_same_training():
    (kept, usual), (recomputed, other) = run(), run(RECOMPUTING)
    losses = [[entry["loss"] for entry in report.log] for report in (usual, other)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for a, b in zip(kept.parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_recomputed_activations_are_not_kept(monkeypatch):
    kept = []
    forward = LlamaForCausalLM.forward

    def watched(model, *arguments, **named):
        watch = SavedForBackward(model)
        with watch:
            outputs = forward(model, *arguments, **named)
        kept.append(watch.bytes)
        return outputs

    monkeypatch.setattr(LlamaForCausalLM, "forward", watched)
    run()
    usual = kept[-1]
    run(RECOMPUTING)
    assert kept[-1] < usual / 2


def test_a_loss_that_is_not_a_number_ends_the_training():
    with pytest.raises(FloatingPointError, match="loss is nan at step"):
        run(learning_rate=1e30)


class Ruin(Full):
    """Its weights are no numbers any more after the last step but one."""

    def optimizer(self, model):
        def ruin(optimizer, *_):
            if next(iter(optimizer.state.values()))["step"] == self.last - 1:
                model.get_parameter("model.norm.weight").fill_(math.nan)

        optimizer = super().optimizer(model)
        optimizer.register_step_post_hook(ruin)
        return optimizer


@pytest.mark.parametrize("steps", [96, 97])
def test_a_loss_that_is_not_a_number_ends_the_training_at_its_last_step_too(steps):
    """Every second step is logged of so many."""
    settings = SETTINGS.model_copy(update={"steps": steps, "batch_size": 1})
    repair = Ruin(learning_rate=1e-3)
    repair.last = steps
    model = repair.wrap(tiny(), seed=0)
    with pytest.raises(FloatingPointError, match=f"loss is nan at step {steps}"):
        train(model, repair, blocks(steps), settings, seed=0, dtype=torch.float32)


@pytest.mark.parametrize(
    ("device", "length", "chosen"),
    [("cpu", SHORT, "eager"), ("cpu", SHORT + 1, "sdpa"), ("cuda", SHORT, "sdpa")],
)
def test_attention_is_chosen_by_the_device_that_computes(device, length, chosen):
    """Not by where the model lies: a dense model waits in the host's memory."""
    model = tiny_llama()
    short_attention(model, length, torch.device(device))
    assert model.config._attn_implementation == chosen


def test_another_number_of_blocks_than_the_budget_is_refused():
    repair = build_repair("full")
    model = repair.wrap(tiny(), seed=0)
    with pytest.raises(ValueError, match="3 blocks; 12 are trained on"):
        train(model, repair, blocks(3), SETTINGS, seed=0, dtype=torch.float32)


class Idle(OwnLoop, Full):
    """Leaves before its fourth step is taken."""

    def train(self, model, run):
        for number in run.steps(self.optimizer(model)):
            if number == 3:
                return


def test_an_own_loop_that_leaves_steps_out_is_refused():
    repair = Idle(learning_rate=1e-2)
    model = repair.wrap(tiny(), seed=0)
    with pytest.raises(RuntimeError, match="its own loop took 3 of 6 optimizer steps"):
        train(model, repair, blocks(), SETTINGS, seed=0, dtype=torch.float32)


class Plain(OwnLoop, Full):
    """What the Trainer does, in a loop of its own."""

    def train(self, model, run):
        model.train()
        for number in run.steps(self.optimizer(model)):
            for part in run.batches[number]:
                loss = run.loss(model, part)
                loss.backward()
                run.note(loss)


@pytest.mark.parametrize("objective", ["next-token", "distill"])
def test_an_own_loop_that_does_what_the_trainer_does_gives_what_it_gives(objective):
    settings = SETTINGS.model_copy(update={"batch_size": 1, "gradient_accumulation": 2})
    results = []
    for cls in (Full, Plain):
        repair = cls(learning_rate=1e-2, objective=objective)
        model = repair.wrap(tiny(), seed=0)
        dense = tiny_llama().eval() if repair.needs_dense else None
        report = train(model, repair, blocks(), settings, seed=0, dtype=torch.float32, dense=dense)
        results.append((report, repair.merge(model, lambda _: None)))
    (report, expected), (own_report, own) = results
    assert own_report == report
    assert all(map(torch.equal, own.parameters(), expected.parameters()))
