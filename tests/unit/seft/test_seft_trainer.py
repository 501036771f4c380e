"""The transformers Trainer: the callback, gradient accumulation, clipping, resuming."""

import pytest
import torch
from seft_loop import adamw, make_llama, train
from transformers import Trainer, TrainerCallback, TrainingArguments

import seft
from seft import SeftCallback, SeftConfig, get_seft_model


class StopAt(TrainerCallback):
    """Ends the training after a step, as a kill would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


@pytest.fixture
def run(tokens, tmp_path):
    """Trains a SEFT model of the tiny LLaMA with the Trainer; returns model and Trainer."""
    data = [{"input_ids": row, "labels": row} for row in tokens.repeat(4, 1)]

    def go(folder="run", callbacks=(), resume=False, options=None, **arguments):
        config = {"density": 0.1, "init": "gradient", "evolve_every": 4}
        config |= {"accumulate_steps": 2, "stagger": False}
        model = get_seft_model(make_llama(), SeftConfig(**config | (options or {})))
        defaults = {
            "max_steps": 16,
            "per_device_train_batch_size": 4,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
        }
        trainer = Trainer(
            model,
            TrainingArguments(tmp_path / folder, **defaults | arguments),
            train_dataset=data,
            eval_dataset=data[:4],
            callbacks=[SeftCallback(), *callbacks],
            optimizer_cls_and_kwargs=(seft.AdamW, {"lr": 0.01}),
        )
        trainer.train(resume_from_checkpoint=resume or None)
        return model, trainer

    return go


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_the_trainer_trains_and_evolves(run):
    model, trainer = run(max_grad_norm=1.0, logging_steps=1)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(losses[-4:]) < sum(losses[:4])
    assert {entry["step"] for entry in model.evolution_log} == {2, 4, 8}
    assert "eval_loss" in trainer.evaluate()
    assert all(layer.window is None for layer in model.seft_layers.values())
    assert all(layer.structural_entries == layer.budget for layer in model.seft_layers.values())


def test_the_trainer_does_what_the_hand_written_loop_does(tokens, tmp_path):
    class InOrder(Trainer):
        def _get_train_sampler(self, *args):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    rows = [torch.randperm(8, generator=torch.Generator().manual_seed(s))[:4] for s in range(1, 11)]
    data = [{"input_ids": row, "labels": row} for row in tokens[torch.cat(rows)]]
    config = SeftConfig(density=0.1, evolve_every=4, accumulate_steps=2)
    by_trainer, by_hand = (get_seft_model(make_llama(), config) for _ in range(2))
    InOrder(
        by_trainer,
        TrainingArguments(
            tmp_path,
            max_steps=10,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            max_grad_norm=0.0,
            lr_scheduler_type="constant",
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=data,
        callbacks=[SeftCallback()],
        optimizer_cls_and_kwargs=(seft.AdamW, {"lr": 0.01}),
    ).train()
    evolver = seft.Evolver(by_hand, total_steps=10)
    train(by_hand, tokens, adamw(by_hand), evolver, range(1, 11), micro_batches=2)
    for name, parameter in by_hand.named_parameters():
        torch.testing.assert_close(by_trainer.get_parameter(name), parameter)


@pytest.mark.parametrize("stop", [5, 7], ids=["between windows", "inside a window"])
def test_a_killed_training_resumes_as_if_it_had_not_been(run, stop):
    whole, _ = run("whole")
    run("killed", callbacks=[StopAt(stop)], save_strategy="steps", save_steps=stop)
    resumed, _ = run("killed", resume=True)
    for name, parameter in weights(whole).items():
        assert torch.equal(resumed.get_parameter(name), parameter), name
    logs = [
        [(e["step"], e["layer"], e["grown"]) for e in m.evolution_log] for m in (whole, resumed)
    ]
    assert logs[0] == logs[1]


def test_the_best_checkpoint_is_loaded_at_the_end(run):
    # A learning rate that ruins the model: the first checkpoint is the best.
    model, trainer = run(
        options={"init": "random"},
        save_strategy="steps",
        save_steps=8,
        eval_strategy="steps",
        eval_steps=8,
        load_best_model_at_end=True,
        lr_scheduler_type="constant",
        metric_for_best_model="eval_loss",
        greater_is_better=True,
    )
    loaded = seft.SeftModel.from_pretrained(make_llama(), trainer.state.best_model_checkpoint)
    for name, parameter in weights(loaded).items():
        assert torch.equal(model.get_parameter(name), parameter), name


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_changes_nothing(run, reentrant):
    plain, _ = run("plain", max_steps=6)
    checkpointed, _ = run(
        "checkpointed",
        max_steps=6,
        activation_checkpointing=True,
        activation_checkpointing_kwargs={"use_reentrant": reentrant},
    )
    for name, parameter in weights(plain).items():
        assert torch.equal(checkpointed.get_parameter(name), parameter), name


def test_seeds_are_as_old_as_an_uneven_window_and_are_not_clipped(run):
    def seeds(**arguments) -> list[dict[str, torch.Tensor]]:
        # An epoch is 8 micro-batches, in optimizer steps of 3, 3 and 2.
        options = {"moments": "seeded", "mask": "free", "accumulate_steps": 3}
        model, trainer = run(
            options=options, max_steps=3, gradient_accumulation_steps=3, **arguments
        )
        optimizer = trainer.optimizer.optimizer
        return [optimizer.state[layer.delta] for layer in model.seft_layers.values()]

    for clipped, free in zip(seeds(max_grad_norm=1e-3), seeds(max_grad_norm=0), strict=True):
        torch.testing.assert_close(free["ages"], torch.tensor([8 / 3]))
        for name in ("exp_avg", "exp_avg_sq"):
            assert free[name].all()
            assert torch.equal(clipped[name], free[name])
