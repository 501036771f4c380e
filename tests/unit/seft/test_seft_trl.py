"""TRL's trainer: its own data handling, loss and defaults around the same callback."""

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from seft_loop import make_llama
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

import seft

WORDS = ["<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz"]


@pytest.fixture
def tokenizer():
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture
def run(tokenizer, tmp_path):
    """Trains a SEFT model of the tiny LLaMA to continue the alphabet; returns model and trainer."""
    letters = WORDS[3:]
    data = Dataset.from_list(
        [
            {"prompt": " ".join(letters[n : n + 3]), "completion": f" {letters[n + 3]}"}
            for n in range(20)
        ]
    )

    def go(folder="run", resume=None, **arguments):
        config = {"density": 0.1, "init": "gradient", "evolve_every": 4}
        config |= {"accumulate_steps": 2, "stagger": False}
        model = seft.get_seft_model(make_llama(), seft.SeftConfig(**config))
        defaults = {
            "max_steps": 16,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "bf16": False,
        }
        trainer = SFTTrainer(
            model,
            SFTConfig(str(tmp_path / folder), **defaults | arguments),
            train_dataset=data,
            processing_class=tokenizer,
            callbacks=[seft.SeftCallback()],
            optimizer_cls_and_kwargs=(seft.AdamW, {"lr": 0.03}),
        )
        trainer.train(resume_from_checkpoint=resume and str(tmp_path / folder / resume))
        return model, trainer

    return go


def test_the_loss_falls_and_the_topology_evolves(run):
    model, trainer = run()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(losses[-4:]) < sum(losses[:4])
    assert {entry["step"] for entry in model.evolution_log} == {2, 4, 8}
    for layer in model.seft_layers.values():
        assert layer.window is None
        assert layer.structural_entries == layer.budget
        assert len(layer.indices.unique()) == len(layer.delta)


def test_a_killed_training_resumes_inside_a_window(run, tmp_path):
    whole, _ = run("whole", max_steps=8)
    run("killed", max_steps=8, save_strategy="steps", save_steps=3)
    saved = load_file(tmp_path / "killed/checkpoint-3/model.safetensors")
    assert any(name.endswith("window.total") for name in saved)
    resumed, _ = run("killed", max_steps=8, resume="checkpoint-3")
    for name, parameter in whole.named_parameters():
        assert torch.equal(resumed.get_parameter(name), parameter), name


def test_activation_checkpointing_changes_nothing(run):
    plain, _ = run("plain", max_steps=4, activation_checkpointing=False)
    checkpointed, _ = run("checkpointed", max_steps=4, activation_checkpointing=True)
    for name, parameter in plain.named_parameters():
        assert torch.equal(checkpointed.get_parameter(name), parameter), name
