"""`harness cluster`: hosts that run jobs together, by Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.output import AsJson, print_json, print_table

app = typer.Typer(
    help="Many hosts that run plans together (Ray).", no_args_is_help=True, rich_markup_mode=None
)

Cores = Annotated[int, typer.Option(help="Cores for jobs; 0: all.", min=0)]
Memory = Annotated[int, typer.Option("--memory-mib", help="Memory for jobs; 0: all but a reserve.", min=0)]
Recipes = Annotated[
    list[Path] | None,
    typer.Option(help="Further folder of recipes whose images are offered; repeatable.", show_default=False),
]


@app.command("head")
def head(
    address: Annotated[
        str, typer.Argument(help="HOST:PORT to serve on; other than 127.0.0.1 means every interface.")
    ] = "127.0.0.1:6379",
    cores: Annotated[int, typer.Option(help="Cores for jobs on the head itself; -1: all.", min=-1)] = -1,
    memory: Memory = 0,
    recipes: Recipes = None,
) -> None:
    """Start the first host of a cluster, and stay until Ctrl-C. The others join it; plans run on it.

    Makes the cluster's token if there is none, and says where: who has it may run anything on every host.

    Example: harness cluster head 10.0.0.1:6379
    """
    from harness.matrix.cluster.rays import make_token, parse_address

    host, port = parse_address(address)
    typer.echo(f"token: {make_token()} (copy it to the other hosts, mode 0600)")
    options = ["--head", f"--node-ip-address={host}", f"--port={port}", "--include-dashboard=false"]
    _start(host, options, max(cores, 0), memory, recipes, no_jobs=cores == 0)


@app.command("join")
def join(
    address: Annotated[str, typer.Argument(help="HOST:PORT of the head.")],
    cores: Cores = 0,
    memory: Memory = 0,
    recipes: Recipes = None,
) -> None:
    """Offer this host's cores, memory and images to a cluster, and stay until Ctrl-C.

    Start it in the folder with the tests, the same commit as on the conductor. Images that are built or
    drilled later are offered when it joins again.

    Example: harness cluster join 10.0.0.1:6379

    Example: harness cluster join 10.0.0.1:6379 --cores 8 --memory-mib 32768
    """
    from harness.errors import UsageError
    from harness.matrix.cluster.rays import is_loopback, parse_address

    host, port = parse_address(address)
    if is_loopback(host):  # Ray refuses, for a system that this isn't
        raise UsageError(
            f"{host} is this host itself, and a head there lets no other host join; start it on an address "
            f"that the others reach: harness cluster head ADDRESS:{port}"
        )
    _start(host, [f"--address={address}"], cores, memory, recipes)


@app.command("status")
def status(
    address: Annotated[str, typer.Argument(help="HOST:PORT of the head.")],
    as_json: AsJson = False,
) -> None:
    """Show the hosts of a cluster and what they offer; which of them have this very harness.

    Example: harness cluster status 10.0.0.1:6379
    """
    from harness.matrix.cluster.offer import DRILL, IMAGE, harness_resource
    from harness.matrix.cluster.rays import alive_hosts, connected

    own = harness_resource()
    with connected(address) as ray:
        rows = [
            {
                "host": host.name,
                "cores": host.cores,
                "memory": f"{host.memory_mib} MiB",
                "harness": "the same" if own in host.things else "another: gets no work from here",
                "images": _named(host.things, IMAGE),
                "drilled": _named(host.things, DRILL),
            }
            for host in alive_hosts(ray)
        ]
    if as_json:
        print_json(rows)
    else:
        print_table(("host", "cores", "memory", "harness", "images", "drilled"), rows)


def _named(things: Sequence[str], kind: str) -> str:
    return ", ".join(name.removeprefix(kind) for name in things if name.startswith(kind))


def _start(
    host: str,
    options: Sequence[str],
    cores: int,
    memory: int,
    recipes: list[Path] | None,
    *,
    no_jobs: bool = False,
) -> None:
    """Run Ray in the foreground, with what this host offers; nothing of it outlives this process."""
    from harness.machine.keep.places import Places, private_folder
    from harness.matrix.cluster.offer import offer
    from harness.matrix.cluster.rays import environment_for, require_ray
    from harness.matrix.cluster.remote import ROOT_VARIABLE
    from harness.matrix.run.guard import MARK, JobGuard

    require_ray()
    found = offer(recipes or (), cores=cores, memory_mib=memory)
    # A short path for this user alone: Ray puts sockets below it.
    place = private_folder(private_folder(Places.standard().runtime) / "ray")
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, "--block"]
    command += ["--disable-usage-stats", f"--temp-dir={place}", "--include-log-monitor=false"]
    command += [f"--num-cpus={0 if no_jobs else found.cores}", "--num-gpus=0"]
    command += [f"--memory={found.memory_mib << 20}", f"--object-store-memory={_STORE}"]
    command += [f"--resources={json.dumps(found.resources)}"]
    typer.echo(f"offering {found.cores} cores, {found.memory_mib} MiB, {', '.join(found.things)}")
    sys.stdout.flush()
    environment = {**os.environ, **environment_for(host), ROOT_VARIABLE: str(Path.cwd())}
    mark = place / f"host-{os.getpid()}"
    with JobGuard(mark):
        process = subprocess.Popen(command, env={**environment, MARK: str(mark)})
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        # Ctrl-C reaches Ray as well, which ends what it has started.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = process.wait()
    raise typer.Exit(code)


#: Bytes of shared memory for what travels: pieces of files.
_STORE = 256 << 20
