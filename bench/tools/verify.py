"""Run a random few cells of a submission again, here: ``python -m bench verify submissions/x``.

They are run with the submission's configuration, by the methods of this checkout or, with
``--at-commit``, by the code at the submission's commit, if it is in this repository: read that
code first. What was found is written into the submission's folder, and the page shows it.
"""

import argparse
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cells import DENSE, NO_BUDGET, Cell, record_path
from bench.files import write_json
from bench.paths import ROOT
from bench.records.measures import device_of
from bench.records.record import read_records
from bench.records.submissions import VERIFIED, Rerun, Submission, Verification
from bench.statistics.reruns import departures, is_same, scatters
from bench.tools.check import submission_problems


def drawn(cells: Sequence[Cell], count: int, draw: int) -> list[Cell]:
    """A random few cells of what was repaired, or of what was pruned where nothing was.

    Args:
        cells: that succeeded.
        count: how many.
        draw: seed of the choice.
    """
    trained = [cell for cell in cells if cell.budget != NO_BUDGET]
    pool = sorted(trained or [cell for cell in cells if cell.pruner != DENSE])
    return random.Random(draw).sample(pool, min(count, len(pool)))


def verify(
    submission: Submission, scratch: Path, *, count: int, draw: int, cores: str, root: Path
) -> Verification:
    """Run cells of a submission again, and compare.

    Args:
        submission: in order, as ``bench check`` says.
        scratch: folder that they are run in; what is there already is gone on with.
        count: how many cells.
        draw: seed of the choice.
        cores: CPU cores to use at once.
        root: of the code that runs them.

    Raises:
        ValueError: there is nothing to run again, or it could not be run.
    """
    sent = {
        Cell(**record["cell"]): (Path(path), record)
        for path, record in read_records(submission.paths).items()
    }
    succeeded = [cell for cell, (_, record) in sent.items() if record["status"] == "ok"]
    chosen = drawn(succeeded, count, draw)
    if not chosen:
        raise ValueError(f"{submission.folder}: no cell of a pruned model that succeeded")
    _run(submission, [record_path(cell) for cell in chosen], scratch, cores, root)
    again = read_records(scratch / record_path(cell) for cell in chosen)
    reruns = []
    for cell, (path, record) in zip(chosen, again.items(), strict=True):
        others = [its for other, (_, its) in sent.items() if other.row != cell.row]
        reasons = list(departures(sent[cell], (Path(path), record), scatters(others)))
        verdict = "same" if is_same(sent[cell][1], record) else "within"
        verdict = "outside" if reasons else verdict
        reruns.append(Rerun(cell=record["cell"], verdict=verdict, reasons=reasons))
    # All of them were run alike.
    record = next(iter(again.values()))
    return Verification(
        date=date.today().isoformat(),
        commit=(record["provenance"]["git"] or {}).get("commit"),
        device=device_of(record),
        draw=draw,
        of=len(sent),
        records=submission.digest(),
        cells=reruns,
    )


def _run(submission: Submission, targets: list[str], scratch: Path, cores: str, root: Path) -> None:
    """Make these records in ``scratch``, by the workflow that lies at ``root``."""
    scratch.mkdir(parents=True, exist_ok=True)
    configuration = [str(path.resolve()) for path in submission.configuration()]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")]
    command += ["--workflow-profile", str(root / "profiles/default")]
    command += ["--directory", str(scratch.resolve()), "--cores", cores]
    command += ["--configfile", *configuration, "--", *targets]
    if subprocess.run(command, check=False, cwd=root).returncode:
        raise ValueError(f"{submission.folder}: its cells could not be run; why, is above")


@contextmanager
def _code_at(commit: str | None) -> Iterator[Path]:
    """The folder of the code at a commit of this repository; without one, of this checkout.

    Raises:
        ValueError: there is no such commit.
    """
    if commit is None:
        yield ROOT
        return
    git = ["git", "-C", str(ROOT)]
    known = [*git, "cat-file", "-e", f"{commit}^{{commit}}"]
    if subprocess.run(known, check=False, stderr=subprocess.DEVNULL).returncode:
        raise ValueError(f"code.commit = {commit}: not in this repository; allowed: one fetched")
    with TemporaryDirectory() as folder:
        code = str(Path(folder) / "code")
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", code, commit], check=True)
        try:
            yield Path(code)
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", code], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("submission", type=Path, help="folder with submission.yaml")
    parser.add_argument("--cells", type=int, default=3, help="how many to run again [%(default)s]")
    parser.add_argument("--draw", type=int, help="seed of the choice of cells [a random one]")
    parser.add_argument("--cores", default="all", help="CPU cores to use at once [%(default)s]")
    parser.add_argument("--at-commit", action="store_true", help="run the submission's own code")
    parser.add_argument(
        "--directory", type=Path, help="where they are run [results/verify/<submission>]"
    )
    given = parser.parse_args()
    if given.cells < 1:
        parser.exit(1, f"--cells {given.cells}: allowed: at least 1\n")
    if given.draw is not None and given.draw < 0:
        parser.exit(1, f"--draw {given.draw}: allowed: at least 0\n")
    submission = Submission(given.submission)
    scratch = given.directory or Path("results/verify") / submission.name
    draw = random.SystemRandom().randrange(2**32) if given.draw is None else given.draw
    try:
        for problem in submission_problems(submission):
            parser.exit(1, f"{problem}\n`python -m bench check {given.submission}` says all\n")
        commit = submission.about.code.commit if given.at_commit else None
        with _code_at(commit) as root:
            found = verify(
                submission, scratch, count=given.cells, draw=draw, cores=given.cores, root=root
            )
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    write_json(submission.folder / VERIFIED, found.model_dump(mode="json"))
    for rerun in found.cells:
        cell = Cell(**rerun.cell.model_dump())
        print(f"{record_path(cell)}: {rerun.verdict}", *rerun.reasons, sep="\n  ")
    print(f"{submission.name}: {submission.state()}")
