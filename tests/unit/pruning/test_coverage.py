"""A sparsity is over all matrices of the decoder blocks, routers aside, or there is none."""

import pytest
import torch
import transformers
from tiny import tiny_llama, tiny_mixture

import seft
from baselines.pruning import PRUNERS, prunable_layers, prune, sparsity_report, zero_fractions
from baselines.pruning.layers import check_reachable
from seft.blocks import decoder_blocks

MIXTURE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
}
EXPERTS = {"experts.gate_up_proj", "experts.down_proj"}
LATENT = {
    **MIXTURE,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "n_group": 1,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "topk_group": 1,
    "v_head_dim": 8,
}
# How the matrices that are out of reach end, and a small configuration.
OUT_OF_REACH = {
    "mixtral": (EXPERTS, {**MIXTURE, "num_local_experts": 8}),
    "qwen2_moe": (EXPERTS, {**MIXTURE, "num_experts": 8, "shared_expert_intermediate_size": 24}),
    "qwen3_moe": (EXPERTS, {**MIXTURE, "num_experts": 8}),
    "olmoe": (EXPERTS, {**MIXTURE, "num_experts": 8}),
    "gpt_oss": (
        EXPERTS | {"experts.gate_up_proj_bias", "experts.down_proj_bias"},
        {**MIXTURE, "num_local_experts": 8, "head_dim": 8},
    ),
    "deepseek_v2": (EXPERTS, LATENT),
    "deepseek_v3": (EXPERTS, LATENT),
    "gpt2": (
        {"c_attn.weight", "attn.c_proj.weight", "c_fc.weight", "mlp.c_proj.weight"},
        {"hidden_size": 32, "num_attention_heads": 4},
    ),
    "mamba": ({"A_log", "conv1d.weight"}, {"hidden_size": 32, "state_size": 4}),
}


def build(kind: str):
    torch.manual_seed(0)
    common = {"vocab_size": 64, "num_hidden_layers": 2, "pad_token_id": 0}
    settings = OUT_OF_REACH[kind][1]
    config = transformers.AutoConfig.for_model(kind, **common, **settings)
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("kind", OUT_OF_REACH)
@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_model_with_matrices_out_of_reach_is_refused_by_their_names(kind, pruner, calibration):
    model = build(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    # By hand: what has two dimensions or more, and is neither a linear layer's nor a router's.
    linear = {n for n, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    missed = [
        name
        for name, parameter in model.named_parameters()
        if ".layers." in name or ".h." in name
        if parameter.ndim > 1
        and name.removesuffix(".weight") not in linear
        and not name.endswith(("mlp.gate.weight", "router.weight"))
    ]
    assert all(name.endswith(tuple(OUT_OF_REACH[kind][0])) for name in missed)
    assert len(missed) == len(OUT_OF_REACH[kind][0]) * (1 if "deepseek" in kind else 2)
    for function in (
        lambda model: prune(model, pruner, sparsity=0.5, calibration=calibration),
        check_reachable,
        prunable_layers,
        sparsity_report,
        zero_fractions,
    ):
        with pytest.raises(ValueError, match="cannot be pruned") as error:
            function(model)
        message = str(error.value)
        assert message.startswith(f"{type(model).__name__} cannot be pruned: {len(missed)} matric")
        assert all(name in message for name in missed[:3])
        assert "causal" not in message
        assert "\n" not in message
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", ["mixtral", "gpt2"])
def test_no_weights_are_needed_to_tell(kind):
    with torch.device("meta"):
        model = build(kind)
    with pytest.raises(ValueError, match="cannot be pruned"):
        check_reachable(model)


@pytest.mark.parametrize("allocation", ["uniform", "owl"])
@pytest.mark.parametrize("pruner", PRUNERS)
def test_experts_in_a_list_are_pruned_and_their_routers_are_not(pruner, allocation):
    model = tiny_mixture()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids = torch.randint(3, 32, (16, 12), generator=torch.Generator().manual_seed(0))
    report = prune(model, pruner, sparsity=0.5, calibration=ids, allocation=allocation)
    zeros = entries = 0
    for block in model.model.layers:
        for name, parameter in block.named_parameters():
            if parameter.ndim > 1 and not name.startswith(("mlp.gate.", "mlp.shared_expert_gate.")):
                zeros += int((parameter == 0).sum())
                entries += parameter.numel()
    assert report.sparsity == zeros / entries == pytest.approx(0.5, abs=1 / 16)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    projections = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert changed == {name for name in before if name.split(".")[-2] in projections}
    # Attention, four experts and a shared one in each of two blocks.
    assert len(changed) == len(report.layers) == 2 * (4 + 3 * (4 + 1))


def share_a_module(first, second):
    second.mlp = first.mlp


def share_a_weight(first, second):
    second.mlp.gate_proj.weight = first.mlp.gate_proj.weight


def list_a_module_twice(first, second):
    first.feed_forward = first.mlp


@pytest.mark.parametrize(
    ("share", "other"),
    [
        (share_a_module, "model.layers.1.mlp.gate_proj.weight"),
        (share_a_weight, "model.layers.1.mlp.gate_proj.weight"),
        (list_a_module_twice, "model.layers.0.feed_forward.gate_proj.weight"),
    ],
)
def test_a_matrix_of_two_names_is_refused_by_both(share, other):
    model = tiny_llama()
    share(*model.model.layers)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for function in (
        lambda model: prune(model, "magnitude", sparsity=0.5),
        prunable_layers,
        sparsity_report,
        lambda model: seft.get_seft_model(model, seft.SeftConfig(density=0.1)),
    ):
        with pytest.raises(ValueError, match="has one matrix for both") as error:
            function(model)
        assert str(error.value) == (
            "LlamaForCausalLM has one matrix for both model.layers.0.mlp.gate_proj.weight and "
            f"{other}"
        )
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_what_is_no_target_may_be_shared():
    model = tiny_llama(tie_word_embeddings=True, attention_bias=True)
    first, second = model.model.layers
    second.self_attn.q_proj.bias = first.self_attn.q_proj.bias
    second.input_layernorm = first.input_layernorm
    assert prune(model, "magnitude", sparsity=0.5).sparsity == pytest.approx(0.5, abs=1 / 16)


@pytest.mark.parametrize("allocation", ["uniform", "owl"])
def test_a_model_that_changes_states_between_its_blocks_is_not_run_block_by_block(
    allocation, calibration
):
    """RWKV halves them after each `rescale_every` blocks."""
    small = {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 3}
    for every, halves in ((1, True), (0, False)):
        config = transformers.RwkvConfig(vocab_size=64, rescale_every=every, **small)
        model = transformers.RwkvForCausalLM(config).eval()
        options = {"calibration": calibration, "sparsity": 0.5, "allocation": allocation}
        if halves:
            with pytest.raises(ValueError, match=r"^RwkvForCausalLM changes hidden states between"):
                prune(model, "wanda", **options)
        else:
            prune(model, "wanda", **options)
        assert (sparsity_report(model).sparsity == 0) == halves


def test_an_expert_without_tokens_is_named():
    """Its inputs' norms would all be zero, and the first weights of each row be pruned."""
    token = torch.zeros(1, 1, dtype=torch.int64)  # which goes to two experts of four
    with pytest.raises(ValueError, match=r"mlp\.experts\.\d.*: no calibration token reaches"):
        prune(tiny_mixture(), "wanda", sparsity=0.5, calibration=token)


def test_blocks_are_found_by_the_configuration():
    assert list(decoder_blocks(tiny_mixture())) == ["model.layers.0", "model.layers.1"]
