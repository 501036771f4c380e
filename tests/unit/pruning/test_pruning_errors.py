import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from baselines.pruning import PRUNERS, prunable_layers, prune, sparsity_report
from seft import SeftConfig, get_seft_model
from seft.storage import pack_layers, unpack_layers

CALIBRATED = [name for name in PRUNERS if PRUNERS[name].needs_calibration]


@pytest.fixture
def model(make_model):
    """A model that must come out of the test unchanged."""
    model = make_model(intermediate_size=18)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    yield model
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("pruner", PRUNERS)
def test_width_not_divisible(pruner, model, calibration):
    with pytest.raises(ValueError, match=r"^model\.layers\.0\.mlp\.down_proj has 18 inputs"):
        prune(model, pruner, pattern="2of4", calibration=calibration)


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sparsity", [0, 1, 1.5, -0.2, 60])
def test_sparsity_out_of_range(pruner, sparsity, model, calibration):
    with pytest.raises(ValueError, match=rf"^sparsity is {sparsity}; it must lie in \(0, 1\)$"):
        prune(model, pruner, sparsity=sparsity, calibration=calibration)


@pytest.mark.parametrize("target", [{}, {"sparsity": 0.5, "pattern": "2of4"}])
def test_exactly_one_target(target, model, calibration):
    with pytest.raises(ValueError, match=r"^give exactly one of sparsity and pattern; got"):
        prune(model, "wanda", calibration=calibration, **target)


def test_bad_pattern(model):
    with pytest.raises(ValueError, match=r"^pattern '4of4' is neither"):
        prune(model, "magnitude", pattern="4of4")


def test_unknown_pruner(model):
    with pytest.raises(KeyError, match="unknown pruner 'wnada'; known: magnitude, wanda"):
        prune(model, "wnada", sparsity=0.5)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_unknown_option(pruner, model, calibration):
    message = f"^pruner '{pruner}': dampening = 0.1: unknown key; .*its options: allocation"
    with pytest.raises(ValueError, match=message):
        prune(model, pruner, sparsity=0.5, calibration=calibration, dampening=0.1)


@pytest.mark.parametrize("pruner", CALIBRATED)
def test_calibration_missing(pruner, model):
    with pytest.raises(ValueError, match=f"^{pruner} needs calibration: token ids"):
        prune(model, pruner, sparsity=0.5)


@pytest.mark.parametrize("pruner", CALIBRATED)
@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (torch.zeros(2, 8), r"^calibration is torch.float32 of shape \(2, 8\); it must be int64"),
        (torch.zeros(2, 8, dtype=torch.int32), "^calibration is torch.int32"),
        (torch.zeros(8, dtype=torch.int64), r"^calibration is torch.int64 of shape \(8,\)"),
        (torch.zeros(0, 8, dtype=torch.int64), r"of shape \(0, 8\)"),
        (torch.zeros(2, 0, dtype=torch.int64), r"of shape \(2, 0\)"),
    ],
)
def test_calibration_of_the_wrong_kind(pruner, calibration, message, model):
    with pytest.raises(ValueError, match=message):
        prune(model, pruner, sparsity=0.5, calibration=calibration)


@pytest.mark.parametrize("pruner", CALIBRATED)
@pytest.mark.parametrize("architecture", ["llama", "opt"])
@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (
            torch.zeros(1, 65, dtype=torch.int64),
            "^calibration has 65 tokens a sequence; the model takes at most 64$",
        ),
        (
            torch.full((1, 8), 999),
            r"^calibration has token ids from 999 to 999; the embedding has \d+ rows",
        ),
        (torch.full((1, 8), -1), "^calibration has token ids from -1 to -1; "),
    ],
)
def test_calibration_that_the_model_does_not_take(
    pruner, architecture, calibration, message, make_model
):
    model = make_model(architecture)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        prune(model, pruner, sparsity=0.5, calibration=calibration)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_packed_layer_is_refused(pruner, make_model, calibration):
    model = make_model()
    prune(model, "magnitude", sparsity=0.5)
    pack_layers(model, ["model.layers.1.mlp.up_proj"])
    message = r"^model\.layers\.1\.mlp\.up_proj \(BitmaskLinear\) is no plain layer: .* unpack"
    with pytest.raises(ValueError, match=message):
        prune(model, pruner, sparsity=0.9, calibration=calibration)
    assert sparsity_report(model).sparsity == 0.5
    report = prune(unpack_layers(model), pruner, sparsity=0.75, calibration=calibration)
    # A pruner that is added may not look for the zeros that there are.
    assert report.layers["model.layers.1.mlp.up_proj"] >= 0.75


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_layer_that_is_not_merged_is_refused(pruner, make_model, calibration):
    model = make_model()
    prune(model, "magnitude", sparsity=0.5)
    model = get_seft_model(model, SeftConfig(density=0.1))
    message = r"^model\.layers\.0\.self_attn\.q_proj \(SeftLinear\) is no plain layer: merge"
    with pytest.raises(ValueError, match=message):
        prune(model, pruner, sparsity=0.9, calibration=calibration)
    assert sparsity_report(model.merge_and_unload()).sparsity == 0.5


def test_a_quantised_layer_is_refused(model):
    """Its codes have magnitudes, too."""
    layer = model.model.layers[1].mlp.up_proj
    weight, codes = layer.weight, torch.ones(48, 32, dtype=torch.int8)
    layer.weight = torch.nn.Parameter(codes, requires_grad=False)
    with pytest.raises(ValueError, match=r"^model\.layers\.1\.mlp\.up_proj \(Linear\) is no plain"):
        prune(model, "magnitude", sparsity=0.5)
    layer.weight = weight
    assert codes.all()


@pytest.mark.parametrize(
    "use",
    [
        prunable_layers,
        sparsity_report,
        lambda model: prune(model, "magnitude", sparsity=0.9),
        lambda model: get_seft_model(model, SeftConfig(density=0.1)),
    ],
)
def test_the_matrices_of_an_adapter_are_no_layers_of_the_model(use, make_model):
    model = make_model()
    prune(model, "magnitude", sparsity=0.5)
    model = get_peft_model(model, LoraConfig(target_modules=["down_proj"], task_type="CAUSAL_LM"))
    message = r"^\S+\.layers\.0\.mlp\.down_proj \(Linear\) has an adapter: merge the model first$"
    with pytest.raises(ValueError, match=message):
        use(model)
    assert sparsity_report(model.merge_and_unload()).sparsity == 0.5


def test_no_decoder_blocks():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    for function in (prunable_layers, sparsity_report, lambda m: prune(m, "wanda", sparsity=0.5)):
        with pytest.raises(ValueError, match=r"^Sequential has no list of decoder"):
            function(model)


def test_which_of_several_lists_are_the_blocks_is_not_guessed():
    """XLM keeps its attentions and its MLPs in two lists: either alone is half of a model."""
    config = transformers.XLMConfig(n_layers=2, emb_dim=16, n_heads=2, vocab_size=32)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(ValueError, match=r"several lists .*\.attentions, .*\.ffns"):
        prune(model, "magnitude", sparsity=0.5)


@pytest.mark.parametrize("pruner", CALIBRATED)
def test_activations_that_overflow(pruner, make_model, calibration):
    model = make_model(dtype=torch.float16)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.fill_(6e4)
    with pytest.raises(ValueError, match=r"^model\.layers\.1 gives infinite or undefined values"):
        prune(model, pruner, sparsity=0.5, calibration=calibration)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("pruner", CALIBRATED)
def test_layer_that_is_never_reached(pruner, make_model, calibration):
    model = make_model()
    model.model.layers[0].unused = torch.nn.Linear(8, 8)
    with pytest.raises(ValueError, match=r"^model\.layers\.0\.unused: no calibration token"):
        prune(model, pruner, sparsity=0.5, calibration=calibration)
