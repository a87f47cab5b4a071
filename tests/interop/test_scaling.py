"""The program of docs/howto/scaling: unchanged on one machine and on a cluster."""
import os

import pytest

from tests.support import ROOT
from tests.support.scripts import run_script

PROGRAM = os.path.join(ROOT, "docs", "examples", "scaling.py")
CLUSTER = """
import subprocess, sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None,
                      host="127.0.0.1", silence_logs=50) as cluster:
        for arguments in ([], [cluster.scheduler_address]):
            print(subprocess.check_output([sys.executable, sys.argv[1], *arguments],
                                          universal_newlines=True).strip())
            print(sum(prefix.state_counts["memory"]
                      for prefix in cluster.scheduler.task_prefixes.values()))
"""


@pytest.mark.gate
@pytest.mark.slow
def test_program_computes_the_same_on_a_cluster():
    pytest.importorskip("distributed")
    alone, before, on_the_cluster, after = run_script(CLUSTER, PROGRAM).split()
    assert alone == on_the_cluster
    assert int(before) == 0 < int(after)        # calls that the cluster has run
