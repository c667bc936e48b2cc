"""Which of a cluster's hosts can run what: asked when a plan is read, and when its jobs are placed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from harness.image.recipe import Recipe
from harness.matrix.cluster.offer import drill_resource, image_resource
from harness.matrix.cluster.rays import ClusterHost
from harness.matrix.plan.jobs import Job
from harness.matrix.plan.machines import Machines
from harness.targets import Target

__all__ = ["able", "machines_of", "refusal"]

#: Hosts that a refusal names.
_NAMED: Final = 10


def machines_of(hosts: Iterable[ClusterHost]) -> Machines:
    """What a plan may expect of machines: that a host has the image, and has seen its crash noticed."""
    offered = _Offered(tuple(hosts))
    return Machines(offered.missing, offered.flaw)


@dataclass(frozen=True, slots=True)
class _Offered:
    hosts: tuple[ClusterHost, ...]

    def missing(self, recipe: Recipe) -> str:
        if any(image_resource(recipe) in host.things for host in self.hosts):
            return ""
        return f"no host of the cluster offers its image; on one of them run: {recipe.build_command}"

    def flaw(self, target: Target) -> str:
        drill = drill_resource(target)
        if any(drill in host.things for host in self.hosts):
            return ""
        name = target.name.partition(":")[2]
        return (
            f"no host of the cluster has drilled it; on one with the image run: harness image drill {name}, "
            "and let it join again"
        )


def able(job: Job, wanted: Mapping[str, float], hosts: Iterable[ClusterHost]) -> tuple[ClusterHost, ...]:
    """The hosts that have what a job wants, and room for it when nothing else runs there."""
    return tuple(
        host for host in hosts if not host.lacks(wanted) and host.cores and host.memory_mib >= job.memory_mib
    )


def refusal(job: Job, wanted: Mapping[str, float], hosts: tuple[ClusterHost, ...]) -> str:
    """Why no host can run the job, empty if one can."""
    if able(job, wanted, hosts):
        return ""
    lacking = [f"{host.name} lacks {', '.join(lacks)}" for host in hosts if (lacks := host.lacks(wanted))]
    small = [
        f"{host.name} has {host.cores} cores and {host.memory_mib} MiB"
        for host in hosts
        if not host.lacks(wanted)
    ]
    why = "; ".join([*lacking, *small][:_NAMED]) or "no host is alive"
    return f"{job.target} needs {', '.join(wanted)}, and {job.memory_mib} MiB on one host: {why}"
