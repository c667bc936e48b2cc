"""A cluster of two hosts on loopback, in a process of its own: ``python ray_hosts.py``.

Prints its address, then does what lines on standard input say: ``kill`` ends the second host at once, the end
of input ends all. What is in the environment of each host says which it is: HOST_NUMBER.
"""

from __future__ import annotations

import os
import sys

import ray
from ray.cluster_utils import Cluster

from harness.matrix.cluster.offer import harness_resource


def main() -> None:
    cluster = Cluster()
    hosts = []
    for number in (1, 2):
        os.environ["HOST_NUMBER"] = str(number)
        things = {harness_resource(): 1.0, f"image:of-host-{number}": 1.0}
        hosts.append(
            cluster.add_node(
                node_ip_address="127.0.0.1",
                num_cpus=1,
                memory=4 << 30,
                object_store_memory=100 << 20,
                resources=things,
                include_dashboard=False,
                include_log_monitor=False,
            )
        )
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(hosts.pop(), allow_graceful=False)
            print("killed", flush=True)
    cluster.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
