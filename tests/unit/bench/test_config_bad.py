"""Bad configurations of every kind: each is one line with key, value and what is allowed."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from layers import read_layers
from snakemake.utils import update_config

from bench.config.loading import ConfigError, load
from bench.documents import read_keys
from bench.files import UnreadableError
from bench.paths import ROOT

NAME = "allowed: a name of letters, digits, '.', '_' and '-' that begins with a letter or a digit"
PATTERN = "allowed: s<percent> with 0 < percent < 100 (such as s60), <n>of<m>"
FOLDER = "allowed: the path, without braces, of a folder of its own"
PATH = "{source: path, path: /data}"
SET = "{source: made-up, files: [a.json], reader: jsonl, splits: {train: 1}, licence: MIT}"
MODEL = "models: {tiny: {source: {source: synthetic}, "
SHAPE = MODEL + "shape: {blocks: 2, hidden: 64, intermediate: 96, vocabulary: 512, "
MADE_UP = "sources: {made-up: {"
LORA = "repair: {lora: {"
BIG = "9" * 4000

# What is laid over the smoke grid, how the one line begins, and what else it says.
BAD = [
    # Names.
    ("models: {..: {source: {source: synthetic}}}", "models = '..': ", NAME),
    ("models: {../../docs: {source: {source: synthetic}}}", "models = '../../docs': ", NAME),
    ("models: {'': {source: {source: synthetic}}}", "models = '': ", NAME),
    ("models: {.: {source: {source: synthetic}}}", "models = '.': ", NAME),
    ("models: {.hidden: {source: {source: synthetic}}}", "models = '.hidden': ", NAME),
    ("models: {/etc: {source: {source: synthetic}}}", "models = '/etc': ", NAME),
    ("models: {a/b: {source: {source: synthetic}}}", "models = 'a/b': ", NAME),
    ("models: {'a b': {source: {source: synthetic}}}", "models = 'a b': ", NAME),
    ("models: {'{seed}': {source: {source: synthetic}}}", "models = '{seed}': ", NAME),
    ("models: {-a: {source: {source: synthetic}}}", "models = '-a': ", NAME),
    ("models: {größer: {source: {source: synthetic}}}", "models = 'größer': ", NAME),
    ('models: {"a\\n": {source: {source: synthetic}}}', "models = 'a\\n': ", NAME),
    (f"models: {{{'a' * 101}: {{source: {{source: synthetic}}}}}}", "models = 'aaa", NAME),
    ("models: {7: {source: {source: synthetic}}}", "models = 7: ", "allowed: a valid string"),
    (f"sources: {{../x: {PATH}}}", "sources = '../x': ", NAME),
    (f"sources: {{'': {PATH}}}", "sources = '': ", NAME),
    (f"data: {{a/..: {SET}}}", "data = 'a/..': ", NAME),
    (f"data: {{manifest.json: {SET}}}", "data = 'manifest.json': ", "allowed: another name"),
    ("evaluation: {tasks: {../x: {metric: acc}}}", "evaluation.tasks = '../x': ", NAME),
    ("evaluation: {tasks: {'': {metric: acc}}}", "evaluation.tasks = '': ", NAME),
    ("variants: {Mine: {of: lora}}", "variants = 'Mine': ", "lower-case letters, digits"),
    ("variants: {..: {of: lora}}", "variants = '..': ", "lower-case letters, digits"),
    ("variants: {'': {of: lora}}", "variants = '': ", "lower-case letters, digits"),
    ("variants: {base: {of: lora}}", "variants = 'base': ", "and not `base`"),
    ("variants: {seft: {of: lora}}", "variants = 'seft': ", "a name that no repair has"),
    # Some disks do not tell cases apart.
    ("models: {Tiny: {source: {source: synthetic}}}", "models = 'Tiny': ", "that is not 'tiny' in"),
    (f"data: {{Squad: {SET}}}", "data = 'Squad': ", "a name that is not 'squad' in other case"),
    # Keys that are called as the kinds of sources are.
    ("sources: {notes: {source: path}}", "sources.notes.path: missing; ", "source, path, files"),
    ("sources: {path: {source: path}}", "sources.path.path: missing; ", "source, path, files"),
    ("sources: {hub: {source: path}}", "sources.hub.path: missing; ", "source, path, files"),
    ("models: {hub: {source: {source: path}}}", "models.hub.source.path: missing; ", "path, files"),
    (
        "models: {pypi: {source: {}}}",
        "models.pypi.source.source: missing; ",
        "allowed: hub, path, pypi, pypi-parts, synthetic",
    ),
    (
        "sources: {pypi: {source: ftp}}",
        "sources.pypi.source = 'ftp': ",
        "allowed: hub, path, pypi, pypi-parts, synthetic",
    ),
    ("sources: {path: {source: path, path: 3}}", "sources.path.path = 3: ", "allowed: a path"),
    (
        "sources: {path: {source: path, path: ''}}",
        "sources.path.path = '': ",
        "the path of a folder",
    ),
    ("sources: {path: {source: path, pth: a, path: a}}", "sources.path.pth = 'a': ", "unknown key"),
    ("sources: {hub: 3}", "sources.hub = 3: ", "allowed keys: licence, package"),
    ("data: {synthetic: 3}", "data.synthetic = 3: ", "allowed keys: source, files"),
    (f"data: {{path: {SET.replace('made-up', 'path')}}}", "data.path.source = 'path': ", "made-up"),
    # Patterns.
    *(
        (f"grid: {{patterns: [{written}]}}", f"grid.patterns.0 = {shown}: ", PATTERN)
        for written, shown in [
            ("null", "None"),
            ("[]", "[]"),
            ("{}", "{}"),
            ("true", "True"),
            ("''", "''"),
            ("60", "60"),
            ("-0.5", "-0.5"),
            (".nan", "nan"),
            (".inf", "inf"),
            ("s100", "'s100'"),
            ("s.6", "'s.6'"),
            ("s1e1", "'s1e1'"),
            ("S60", "'S60'"),
            ("' s60'", "' s60'"),
            ("0of4", "'0of4'"),
            ("2 of 4", "'2 of 4'"),
            ("2026-01-01", "datetime.date(2026, 1, 1)"),
        ]
    ),
    ("grid: {patterns: [s60, 0.6]}", "grid.patterns = ['s60', 0.6]: ", "each entry once"),
    ("grid: {patterns: s60}", "grid.patterns = 's60': ", "allowed: a valid list"),
    ("grid: {patterns: []}", "grid.patterns = []: ", "allowed: at least 1 item"),
    ("tuning: {pattern: null}", "tuning.pattern = None: ", PATTERN),
    # Seeds.
    ("grid: {seeds: [4294967296]}", "grid.seeds.0 = 4294967296: ", "or equal to 4294967295"),
    ("grid: {seeds: [-1]}", "grid.seeds.0 = -1: ", "allowed: greater than or equal to 0"),
    ("grid: {seeds: [true]}", "grid.seeds.0 = True: ", "allowed: a number"),
    ("grid: {seeds: [0.5]}", "grid.seeds.0 = 0.5: ", "allowed: a valid integer"),
    ("grid: {seeds: [one]}", "grid.seeds.0 = 'one': ", "allowed: a valid integer"),
    ("grid: {seeds: [null]}", "grid.seeds.0 = None: ", "allowed: a valid integer"),
    ("grid: {seeds: 0}", "grid.seeds = 0: ", "allowed: a valid list"),
    ("grid: {seeds: []}", "grid.seeds = []: ", "allowed: at least 1 item"),
    ("grid: {seeds: [1, 1.0]}", "grid.seeds = [1, 1.0]: ", "each entry once; repeated: 1"),
    ("calibration: {seed: 4294967296}", "calibration.seed = 4294967296: ", "equal to 4294967295"),
    (MADE_UP + "seed: -1}}", "sources.made-up.seed = -1: ", "greater than or equal to 0"),
    # Numbers that are none, or not finite, or without end.
    ("training: {steps: true}", "training.steps = True: ", "allowed: a number"),
    ("training: {warmup: false}", "training.warmup = False: ", "allowed: a number"),
    ("runtime: {threads: yes}", "runtime.threads = True: ", "allowed: a number"),
    (
        "evaluation: {tasks: {wiki: {limit: true}}}",
        "evaluation.tasks.wiki.limit = True: ",
        "number",
    ),
    (LORA + "rank: true}}", "repair.lora.rank = True: ", "allowed: a number"),
    (
        "variants: {mine: {of: lora, rank: true}}",
        "variants.mine.rank = True: ",
        "allowed: a number",
    ),
    (
        "training: {mixture: [{data: squad, weight: true}]}",
        "training.mixture.0.weight = True: ",
        "n",
    ),
    (
        "training: {mixture: [{data: squad, weight: .inf}]}",
        "training.mixture.0.weight = inf: ",
        "finite",
    ),
    (
        "training: {mixture: [{data: squad, weight: .nan}]}",
        "training.mixture.0.weight = nan: ",
        "allowed",
    ),
    (
        "training: {mixture: [{data: squad, weight: 0}]}",
        "training.mixture.0.weight = 0: ",
        "than 0",
    ),
    ("training: {warmup: .nan}", "training.warmup = nan: ", "allowed: a finite number"),
    ("training: {clip: .inf}", "training.clip = inf: ", "allowed: a finite number"),
    (LORA + "learning_rate: .inf}}", "repair.lora.learning_rate = inf: ", "finite number"),
    (LORA + "weight_decay: .nan}}", "repair.lora.weight_decay = nan: ", "finite number"),
    (
        "variants: {mine: {of: lora, learning_rate: .inf}}",
        "variants.mine.learning_rate = inf: ",
        "finite",
    ),
    (
        "tuning: {learning_rates: {lora: [.inf, 1, 2, 3]}}",
        "tuning.learning_rates.lora.0 = inf: ",
        "finite",
    ),
    (MODEL + "band: {wiki: [1, .inf]}}}", "models.tiny.band.wiki.1 = inf: ", "finite number"),
    ("pruning: {sparsegpt: {damping: .inf}}", "pruning.sparsegpt.damping = inf: ", "finite number"),
    (
        MADE_UP + "shape: {rms_norm_eps: .nan}}}",
        "sources.made-up.shape = {'rms_norm_eps': nan}: ",
        "finite",
    ),
    (f"training: {{steps: 0x{BIG}}}", "training.steps = about 2**", "at most 63 bits"),
    (f"training: {{steps: '{BIG}{BIG}'}}", "training.steps = '999", "at most 63 bits"),
    ("training: {steps: 9223372036854775808}", "training.steps = about 2**64: ", "at most 63 bits"),
    ("training: {length: 1}", "training.length = 1: ", "greater than or equal to 2"),
    ("models: {tiny: {context_length: 1}}", "models.tiny.context_length = 1: ", "or equal to 2"),
    (
        "evaluation: {tasks: {wiki: {context_length: 1, windows: disjoint}}}",
        "evaluation.tasks.wiki.context_length = 1: ",
        "or equal to 2",
    ),
    ("training: {steps: 1.5}", "training.steps = 1.5: ", "allowed: a valid integer"),
    ("training: {steps: null}", "training.steps = None: ", "allowed: a valid integer"),
    ("training: {steps: []}", "training.steps = []: ", "allowed: a valid integer"),
    # Lists and mappings.
    (
        "training: {mixture: [{data: squad}, {data: squad}]}",
        "training.mixture = [",
        "each data set once; repeated: squad",
    ),
    ("training: {mixture: squad}", "training.mixture = 'squad': ", "allowed: a valid list"),
    (
        "training: {mixture: [squad]}",
        "training.mixture.0 = 'squad': ",
        "allowed keys: data, weight",
    ),
    ("training: null", "training = None: ", "allowed keys: mixture, split"),
    ("training: []", "training = []: ", "allowed keys: mixture, split"),
    ("data: {squad: {files: [squad.json, squad.json]}}", "data.squad.files = [", "each entry once"),
    ("data: {squad: {files: ['']}}", "data.squad.files.0 = '': ", "allowed: a relative path"),
    ("data: {squad: {files: [../a]}}", "data.squad.files.0 = '../a': ", "without '..'"),
    ("data: {squad: {splits: {train: 1, tset: 0.1}}}", "data.squad.splits = 'tset': ", "'test'"),
    ("grid: {models: tiny}", "grid.models = 'tiny': ", "allowed: a valid list"),
    (
        "grid: {models: ['']}",
        "grid.models = '': unknown; ",
        "allowed: smollm2-135m, gemma-3-270m, tiny",
    ),
    ("grid: {repairs: [none, none]}", "grid.repairs = ['none', 'none']: ", "each entry once"),
    (
        "tuning: {learning_rates: {lora: []}}",
        "tuning.learning_rates.lora = []: ",
        "at least 1 item",
    ),
    (
        "tuning: {learning_rates: {lora: [1, 1, 2, 3]}}",
        "tuning.learning_rates = {",
        "none of them twice",
    ),
    (
        "tuning: {learning_rates: {lora: [0.12345678, 1, 2, 3]}}",
        "tuning.learning_rates.lora.0 = 0.12345678: ",
        "six significant digits",
    ),
    ("gird: {}", "gird = {}: unknown key; ", "allowed keys: grid, models"),
    (
        "grid: {seed: 1}",
        "grid.seed = 1: unknown key; ",
        "models, pruners, patterns, repairs, budgets, seeds",
    ),
    ("1: 2", "1: ", "allowed: keys that are texts"),
    # Bands, shapes, sources.
    (
        MODEL + "band: {wiki: [20, 15]}}}",
        "models.tiny.band.wiki = [20, 15]: ",
        "the lowest score, then",
    ),
    (MODEL + "band: {wiki: [1]}}}", "models.tiny.band.wiki = [1]: ", "allowed: 2 items"),
    (MODEL + "band: {wiki: [1, 2, 3]}}}", "models.tiny.band.wiki = [1, 2, 3]: ", "2 items"),
    (MODEL + "band: {wikki: [1, 2]}}}", "models.tiny.band = 'wikki': unknown; ", "wiki"),
    (
        SHAPE + "heads: 4, key_value_heads: 3}}}",
        "models.tiny.shape: key_value_heads = 3: ",
        "divisor",
    ),
    (SHAPE + "heads: true, key_value_heads: 1}}}", "models.tiny.shape.heads = True: ", "number"),
    (
        "sources: {a: {source: hub, repository: '', revision: '" + "0" * 40 + "'}}",
        "sources.a.repository = '': ",
        "what matches",
    ),
    (
        "sources: {a: {source: hub, repository: a/b/c, revision: '" + "0" * 40 + "'}}",
        "sources.a.repository = 'a/b/c': ",
        "what matches",
    ),
    (
        "sources: {a: {source: hub, repository: a/b, revision: main}}",
        "sources.a.revision = 'main': ",
        "what matches",
    ),
    (
        "sources: {a: {source: path, path: /a, files: ['']}}",
        "sources.a.files.0 = '': ",
        "1 character",
    ),
    # Tasks.
    (
        "evaluation: {tasks: {winogrande: {metric: acc_norm}}}",
        "evaluation.tasks.winogrande.metric = 'acc_norm': ",
        "allowed: acc",
    ),
    (
        "evaluation: {tasks: {science: {metric: ''}}}",
        "evaluation.tasks.science.metric = '': ",
        "allowed: acc, acc_norm",
    ),
    (
        "evaluation: {tasks: {science: {metric: perplexity, context_length: 8}}}",
        "evaluation.tasks.science.metric = 'perplexity': ",
        "acc, acc_norm",
    ),
    (
        "evaluation: {tasks: {wiki: {metric: acc}}}",
        "evaluation.tasks.wiki.metric = 'acc': ",
        "allowed: perplexity",
    ),
    # Less of it is better: as an accuracy it would be ranked upside down.
    (
        "evaluation: {tasks: {wiki: {metric: byte_perplexity}}}",
        "evaluation.tasks.wiki.metric = 'byte_perplexity': ",
        "allowed: perplexity",
    ),
    (
        "evaluation: {tasks: {wiki: {context_length: null}}}",
        "evaluation.tasks.wiki: context_length: missing; ",
        "perplexity depends",
    ),
    (
        "evaluation: {tasks: {wiki: {few_shot: 2}}}",
        "evaluation.tasks.wiki: few_shot = 2: ",
        "text alone",
    ),
    ("evaluation: {tasks: 3}", "evaluation.tasks = 3: ", "allowed: a valid dictionary"),
    (
        "evaluation: {tasks: {science: 3}}",
        "evaluation.tasks.science = 3: ",
        "allowed keys: data, split",
    ),
    # Checkpoints.
    *(
        (f"checkpoints: {written}", f"checkpoints = {shown}: ", FOLDER)
        for written, shown in [
            ("''", "''"),
            (".", "'.'"),
            ("docs/weights", "'docs/weights'"),
            ("./", "'./'"),
            ("/", "'/'"),
            ("..", "'..'"),
            ("results", "'results'"),
            ("results/cells", "'results/cells'"),
            ("results/cells/deep", "'results/cells/deep'"),
            ("a/../resources/x", "'a/../resources/x'"),
            ("resources", "'resources'"),
            ("reports", "'reports'"),
            ("'{model}'", "'{model}'"),
            ("'/scratch/${USER}'", "'/scratch/${USER}'"),
            ("'s3://bucket/a'", "'s3://bucket/a'"),
            ("' a'", "' a'"),
            ("'~nobody-of-this-name/a'", "'~nobody-of-this-name/a'"),
            ('"a\\n"', "'a\\n'"),
        ]
    ),
    (
        "repair: {seft: {evolve_every: 12}}",
        "repair.seft.evolve_every = 12: ",
        "allowed: fewer, or more than the 12 steps, in which not every layer would evolve",
    ),
    (
        "{budgets: {short: {steps: 2}}, grid: {budgets: [default, short]}, "
        "repair: {seft: {evolve_every: 2, accumulate_steps: 1}}}",
        "repair.seft.evolve_every = 2: ",
        "or more than the 2 steps of budget 'short', in which not every layer would evolve",
    ),
    # At step 10 of 12 nothing is dropped any more.
    (
        "repair: {seft: {evolve_every: 10, init: random}}",
        "repair.seft.evolve_every = 10: ",
        "allowed: fewer, or more than the 12 steps",
    ),
    # Of layers in turn the last would evolve at step 2 x 6 - 1.
    ("repair: {seft: {evolve_every: 6}}", "repair.seft.evolve_every = 6: ", "not every layer"),
    (
        "{variants: {seldom: {of: seft, evolve_every: 10}}, grid: {repairs: [none, seldom]}}",
        "variants.seldom.evolve_every = 10: ",
        "not every layer",
    ),
    (
        "{budgets: {short: {steps: 3}}, tuning: {budgets: [short], "
        "learning_rates: {spiel: null, spiel-static-mask: null, random-grow: null}}, "
        "repair: {seft: {evolve_every: 3}}}",
        "repair.seft.evolve_every = 3: ",
        "the 3 steps of budget 'short', in which not every layer would evolve",
    ),
    # What cannot be trained on an N:M base, with what stands for it there.
    (
        "{grid: {patterns: [s60, 2of4]}, repair: {seft: {nm: evolve, candidates: 4}}}",
        "repair.seft: nm='evolve' with mask='evolve' and candidates=4 on 2of4: ",
        "candidates cannot be limited where pattern is given",
    ),
    (
        "{grid: {patterns: [2of4], repairs: [none, fixed]}, "
        "variants: {fixed: {of: seft, nm: evolve, mask: fixed}}}",
        "variants.fixed: nm='evolve' with mask='fixed' and candidates=3 on 2of4: ",
        """mask='fixed' must be "evolve" where pattern is given""",
    ),
    (
        "{budgets: {long: {steps: 24, repair: {seft: {nm: evolve, candidates: 4}}}}, "
        "grid: {patterns: [2of4], budgets: [default, long]}}",
        "repair.seft of budget 'long': nm='evolve' with mask='evolve' and candidates=4 on 2of4: ",
        "candidates cannot be limited",
    ),
    (
        "{tuning: {pattern: 4of8}, repair: {seft: {nm: evolve, candidates: 4}}}",
        "repair.seft: nm='evolve' with mask='evolve' and candidates=4 on 4of8: ",
        "candidates cannot be limited",
    ),
    ("checkpoints: null", "checkpoints = None: ", "allowed: a valid string"),
    ("checkpoints: [a]", "checkpoints = ['a']: ", "allowed: a valid string"),
]


def over_smoke(text: str) -> dict:
    values = read_layers("smoke.yaml")
    update_config(values, yaml.safe_load(text))
    return values


@pytest.mark.parametrize(("text", "begins", "said"), BAD, ids=[text[:80] for text, _, _ in BAD])
def test_a_bad_value_is_one_line(text, begins, said):
    with pytest.raises(ConfigError) as error:
        load(over_smoke(text))
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"config: {begins}"), line
    assert said in line
    assert len(line) < 700


def test_kinds_are_many():
    assert len(BAD) >= 140


def test_a_nest_without_end_is_one_line():
    deep = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ConfigError) as error:
        load(over_smoke("{}") | {"training": deep})
    (line,) = str(error.value).splitlines()
    assert len(line) < 700


GOOD = [
    LORA + "learning_rate: 1e-3}}",  # YAML 1.1 reads a text.
    "training: {steps: 4.0}",
    "training: {steps: '4'}",
    "grid: {seeds: [4294967295]}",
    "models: {A.b_c-1: {source: {source: synthetic}}}",
    "checkpoints: /scratch/somebody/weights",
    "checkpoints: results/weights",
    "repair: {seft: {evolve_every: 5}}",
    "repair: {seft: {evolve_every: 9, stagger: false}}",
    # Positions are chosen once, and are not meant to evolve.
    "repair: {seft: {evolve_every: 12, drop_fraction: 0}}",
    # What is N:M alone is not looked at on other bases, and the default has no limit there.
    "repair: {seft: {nm: evolve, candidates: 4}}",
    "{grid: {patterns: [2of4]}, repair: {seft: {nm: evolve}}}",
    # Of a task that is left out.
    MODEL + "band: {wiki: [1, 2]}}}\nevaluation: {tasks: {wiki: null}}",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_allowed(text):
    load(over_smoke(text))


def test_checkpoints_are_a_path_in_one_form(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    for text, folder in {
        "~/weights": "/home/somebody/weights",
        "./a//b/": "a/b",
        "/scratch/x/../y": "/scratch/y",
        "results/checkpoints": "results/checkpoints",
    }.items():
        assert load(over_smoke(f"checkpoints: {text}")).checkpoints == folder


FILES = {
    "grid: {seeds: [0]}\ngrid: {seeds: [1]}\n": "line 2: grid: given twice; allowed: each key once",
    "grid:\n  seeds: [0]\n  seeds: [1]\n": "line 3: grid.seeds: given twice; allowed: each key",
    "a: [{b: 1, 'b': 2}]": "line 1: a.0.b: given twice; allowed: each key once",
    "a: {no: 1, 'no': 2}": "line 1: a.no: no text; allowed: keys that are, in quotes",
    "models:\n  2024-01-01: {}\n": "line 2: models.2024-01-01: no text",
    "training: {steps: 010}\n": "line 1: training.steps = 010: allowed: a number in decimals",
    "a:\n- -0_7\n": "line 2: a.0 = -0_7: allowed: a number in decimals",
    "a: 1:30\n": "line 1: a = 1:30: allowed: a number in decimals",
    "a: 1:30.5\n": "line 1: a = 1:30.5: allowed: a number in decimals",
    '{"grid": 1, "grid": 2}': "grid: given twice; allowed: each key once",
    '{\n\t"a": {"b": 1, "b": 2}}': "b: given twice; allowed: each key once",
    "": "holds nothing; allowed: keys and their values",
    "# nothing\n": "holds nothing; allowed: keys and their values",
    "- 1\n": "holds a list; allowed: keys and their values",
    "text": "holds a str; allowed: keys and their values",
    "a: 1\n---\nb: 2\n": "expected a single document",
    "a: [\n": "expected the node content",
    "a:\n\tb: 1\n": "found character '\\t' that cannot start any token",
    "a: !!python/object/apply:os.getcwd []\n": "could not determine a constructor for the tag",
    "a: !include b.yaml\n": "could not determine a constructor for the tag",
    "? [a]\n: 1\n": "found unhashable key",
    "a: \x07\n": "special characters are not allowed",
    "a: &a [*a]\n": "allowed: at most 50 levels",
    "[" * 5000: "nested too deeply",
    "{a: " * 60 + "1" + "}" * 60: "allowed: at most 50 levels",
    f"a: {'9' * 5000}\n": "Exceeds the limit (4300 digits)",
}
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30))
FILES[LAUGHS] = "100,000 values, aliases written out"


@pytest.mark.parametrize(("text", "said"), FILES.items(), ids=[repr(t[:40]) for t in FILES])
def test_a_file_that_is_no_configuration_is_one_line(tmp_path, text, said):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UnreadableError) as error:
        read_keys(tmp_path / "bad.yaml")
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{tmp_path / 'bad.yaml'}: ")
    assert said in line


def test_numbers_are_as_they_are_written(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [10, 0, 0.010, 1_000, -1.0e-3, '010', '1:30', 08]\n")
    assert read_keys(tmp_path / "a.yaml")["a"] == [10, 0, 0.01, 1000, -0.001, "010", "1:30", "08"]


def test_a_file_that_is_not_there_or_no_text_is_one_line(tmp_path):
    (tmp_path / "latin").write_bytes("# größer".encode("latin-1"))
    for name, said in {
        "none": "No such file or directory",
        ".": "Is a directory",
        "latin": "byte 5: allowed: text in UTF-8",
    }.items():
        with pytest.raises(UnreadableError) as error:
            read_keys(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}: {said}"


def test_aliases_and_merged_keys_are_no_repetition(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: *a\n")
    assert read_keys(tmp_path / "a.yaml")["b"] == {"x": 3, "y": 2}
    (tmp_path / "a.json").write_text(json.dumps(read_layers("smoke.yaml"), indent="\t"))
    assert read_keys(tmp_path / "a.json") == read_layers("smoke.yaml")


def test_make_reads_a_configuration_before_snakemake_does(tmp_path):
    for target in ("table1", "tune"):
        make = ["make", "--dry-run", target, "CONFIG=none.yaml"]
        said = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert re.search(r"python -m bench read none\.yaml && .*snakemake", said)
    read = [sys.executable, "-m", "bench", "read", f"{tmp_path}/none.yaml"]
    answer = subprocess.run(read, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr == f"config: {tmp_path}/none.yaml: No such file or directory\n"
