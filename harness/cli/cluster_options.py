"""What the commands share that can do their work on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harness.matrix.plan.machines import Machines

__all__ = ["ClusterOption", "cluster_at", "machines_at"]

ClusterOption = Annotated[
    str | None,
    typer.Option("--cluster", help="On the hosts of this Ray cluster, HOST:PORT.", show_default=False),
]


@contextmanager
def cluster_at(address: str | None) -> Iterator[Any]:
    """Ray's module, connected to the cluster at `address`; None without an address."""
    if address is None:
        yield None
        return
    from harness.matrix.cluster.rays import connected

    with connected(address) as ray:
        yield ray


def machines_at(ray: Any) -> Machines:
    """What is known of machines there; of this host's where `ray` is None."""
    if ray is None:
        from harness.matrix.plan.machines import THIS_HOST

        return THIS_HOST
    from harness.matrix.cluster.hosts import machines_of
    from harness.matrix.cluster.rays import alive_hosts

    return machines_of(alive_hosts(ray))
