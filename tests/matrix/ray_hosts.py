"""A cluster of two hosts on loopback, in a process of its own: ``python ray_hosts.py``.

Prints its address, then does what lines on standard input say: ``kill`` ends the second host at once, the end
of input ends all. Each host offers what is there by its own environment: HOST_NUMBER says which it is,
HARNESS_CACHE is a cache of its own, and the second alone knows the recipes in RECIPES_OF_HOST_2.
"""

from __future__ import annotations

import os
import sys

import ray
from ray.cluster_utils import Cluster

from harness.matrix.cluster.offer import offer


def main() -> None:
    cluster = Cluster()
    hosts = []
    caches, recipes = os.environ["CACHES_OF_HOSTS"], os.environ["RECIPES_OF_HOST_2"]
    for number in (1, 2):
        os.environ["HOST_NUMBER"] = str(number)
        os.environ["HARNESS_CACHE"] = f"{caches}/host-{number}"
        os.environ["HARNESS_RECIPES"] = recipes if number == 2 else ""
        hosts.append(
            cluster.add_node(
                wait=False,  # for half a minute, which not every host keeps to
                node_ip_address="127.0.0.1",
                num_cpus=1,
                memory=4 << 30,
                object_store_memory=100 << 20,
                resources=offer(cores=1).resources,
                include_dashboard=False,
                include_log_monitor=False,
            )
        )
    cluster.wait_for_nodes(timeout=600)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(hosts.pop(), allow_graceful=False)
            print("killed", flush=True)
    cluster.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
