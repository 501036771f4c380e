"""A real Slurm on one machine, started by hand: no systemd, no accounting database, no cgroups."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from getpass import getuser
from pathlib import Path

import psutil

# The GPUs are two that only Slurm believes in: enough for it to take requests for them.
CONFIGURATION = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/finished
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MinJobAge=300
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:2
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """The daemons and the commands of a Slurm of one machine.

    Args:
        folder: for its configuration, state and logs.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
        }
        self._daemons: dict[str, subprocess.Popen] = {}
        for name in ("state", "spool", "bin"):
            (folder / name).mkdir()
        folder.chmod(0o755)
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o600)
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null,/dev/zero\n")
        controller, daemon = free_ports(2)
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                folder=folder,
                host=socket.gethostname().partition(".")[0],
                user=getuser(),
                controller=controller,
                daemon=daemon,
                cpus=os.cpu_count(),
                memory=psutil.virtual_memory().total * 9 // 10 // 2**20,
            )
        )

        # Snakemake's plugin hides SLURM_CONF from the srun in a job: other machines need none.
        srun = folder / "bin/srun"
        srun.write_text(
            f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n'
        )
        srun.chmod(0o755)

    def start(self) -> None:
        munge = ("key-file", "socket", "pid-file", "log-file", "seed-file")
        files = [f"--{name}={self.folder}/munge.{name.removesuffix('-file')}" for name in munge]
        self._start("munged", "--foreground", "--force", *files)
        wait_for(lambda: (self.folder / "munge.socket").exists())
        self.start_controller()
        self._start("slurmd", "-D", "-f", str(self.folder / "slurm.conf"))
        wait_for(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%T"), seconds=30)

    def start_controller(self) -> None:
        self._start("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        wait_for(lambda: "UP" in self.ask("scontrol", "ping"), seconds=30)

    def stop_controller(self) -> None:
        self._stop("slurmctld")

    def stop(self) -> None:
        for name in ("slurmd", "slurmctld", "munged"):
            self._stop(name)

    def _start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.out").open("a") as output:
            self._daemons[name] = subprocess.Popen(
                [shutil.which(name), *arguments],
                env=os.environ | self.environment,
                stdout=output,
                stderr=output,
            )

    def _stop(self, name: str) -> None:
        if name in self._daemons:
            daemon = self._daemons.pop(name)
            daemon.terminate()
            daemon.wait(timeout=30)

    def ask(self, *command: str) -> str:
        """What a Slurm command prints; it may fail while the controller is away."""
        return subprocess.run(
            command,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout

    def running(self, rule: str, wildcards: str = "") -> list[str]:
        """Numbers of the jobs of a rule that are running."""
        lines = self.ask("squeue", "--noheader", "--states=R", "--format=%i|%k").splitlines()
        jobs = dict(line.split("|") for line in lines)
        told = f"rule_{rule}_wildcards_{wildcards}"
        return [job for job, comment in jobs.items() if comment.startswith(told)]

    def active(self) -> list[str]:
        """Numbers of the jobs that wait or run."""
        return self.ask("squeue", "--noheader", "--format=%i").split()

    def finished(self) -> dict[str, str]:
        """The state in which each job ended, by its number."""
        path = self.folder / "finished"
        lines = path.read_text().splitlines() if path.exists() else []
        jobs = [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in lines]
        return {job["JobId"]: job["JobState"] for job in jobs}


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for(condition: Callable, seconds: float = 300):
    """What ``condition`` returns as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError("the condition did not become true")
        time.sleep(0.1)
    return found
