"""Run one job of the workflow by hand, in this process, where a debugger can follow it.

``python -m pdb -m bench job results/cells/<model>/dense/record.json`` stops before the first line.
Nothing is run beside that job, so its inputs have to be there, and Snakemake is not told of it.
"""

import argparse
import io
import runpy
from contextlib import redirect_stdout
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.exceptions import RuleException, WorkflowError
from snakemake.iocontainers import Snakemake
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)

from bench.paths import ROOT


def run_job(target: str, configfiles: list[Path], cores: int) -> None:
    """Run the script of the job that makes a file, with the inputs that the workflow gives it.

    Args:
        target: an output of the job, relative to the working directory.
        configfiles: laid over the default configuration, in turn.
        cores: CPU cores that the job may have.
    """
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow_api = api.workflow(
            ResourceSettings(cores=cores),
            config_settings=ConfigSettings(configfiles=configfiles),
            snakefile=ROOT / "Snakefile",
        )
        # Any question about the jobs builds them; this one has the shortest answer.
        with redirect_stdout(io.StringIO()):
            workflow_api.dag(DAGSettings(targets={target})).printrulegraph()
        workflow = workflow_api._workflow
        job = next(job for job in workflow.dag.jobs if target in job.output)
        script = ROOT / "workflow" / "rules" / job.rule.script
        for file in (*job.output, *job.log):
            Path(file).parent.mkdir(parents=True, exist_ok=True)
        given = Snakemake(
            job.input,
            job.output,
            job.params,
            job.wildcards,
            job.threads,
            job.resources,
            job.log,
            workflow.config,
            job.rule.name,
            None,
            str(script.parent),
        )
    runpy.run_path(str(script.resolve()), {"snakemake": given}, run_name="__main__")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", help="a file or folder that the job makes")
    parser.add_argument("--configfile", type=Path, action="append", default=[])
    parser.add_argument("--cores", type=int, default=2, help="CPU cores it may have [%(default)s]")
    options = parser.parse_args()
    try:
        run_job(options.target, options.configfile, options.cores)
    except (RuleException, WorkflowError) as error:
        parser.exit(1, f"{' '.join(str(error).split())}\n")
