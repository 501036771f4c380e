import pytest
import torch
import transformers

VOCABULARY = 64


@pytest.fixture(scope="session")
def make_model():
    """Build a small random causal language model of an architecture, with three blocks."""

    def make(architecture="llama", dtype=torch.float32, tied=False, **changes):
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(
            architecture,
            **{
                "vocab_size": VOCABULARY,
                "hidden_size": 32,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "max_position_embeddings": 64,
                "tie_word_embeddings": tied,
                "pad_token_id": 0,
                "bos_token_id": 1,
                "eos_token_id": 2,
                **SIZES[architecture],
                **changes,
            },
        )
        # A larger spread than the usual 0.02, so that the blocks change what they are given.
        config.initializer_range = config.init_std = 0.2
        return transformers.AutoModelForCausalLM.from_config(config).to(dtype)

    return make


@pytest.fixture
def count_runs():
    """Count how often each block of a model runs, from now on."""

    def count(model) -> list[int]:
        runs = [0] * len(model.model.layers)
        for index, block in enumerate(model.model.layers):

            def ran(*_, index=index):
                runs[index] += 1

            block.mlp.register_forward_hook(ran)
        return runs

    return count


GATED = {"intermediate_size": 48, "num_key_value_heads": 2}
SIZES = {
    "llama": GATED,
    # Windows shorter than the calibration sequences; those of Qwen and Gemma differ by block.
    "mistral": {**GATED, "sliding_window": 5},
    "qwen2": {**GATED, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "qwen3": {**GATED, "head_dim": 8},
    "gemma3_text": {**GATED, "head_dim": 8, "sliding_window": 5, "sliding_window_pattern": 2},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "gpt_neox": {"intermediate_size": 48},
}


@pytest.fixture(scope="session", params=SIZES)
def architecture(request):
    return request.param


@pytest.fixture(scope="session")
def calibration():
    """Token ids of shape (6 samples, 12 tokens)."""
    return torch.randint(VOCABULARY, (6, 12), generator=torch.Generator().manual_seed(1))
