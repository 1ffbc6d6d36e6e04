#!/bin/bash
# make test-cluster: the tests on a real Slurm of one node, and on a real Ray of two.
#
# Whatever they start (Slurm's and Ray's daemons, jobs, actors, trials, mounted disks) lives in name
# spaces of its own, which the kernel ends with the tests, however those end: passed, failed, Ctrl-C,
# killed. Where this machine cannot do that, one sentence says so and nothing is tested.
set -euo pipefail
cd "$(dirname "$0")/../.."
spaces=(unshare --pid --fork --kill-child --mount-proc)

skip() {
    echo "make test-cluster is SKIPPED, nothing was tested: $1"
    exit 0
}

installed() {
    for tool in slurmctld slurmd sbatch faketime; do
        command -v $tool > /dev/null || return 1
    done
}

if [ "${1:-}" = inside ]; then
    # Trials mostly sleep, so there are more processes than cores; each has a Slurm, a Ray of its own.
    .venv-ray/bin/python -m pytest -n 2 --dist worksteal -m cluster tests/cluster/test_ray.py
    .venv/bin/python -m pytest -n 4 --dist worksteal -m cluster tests/cluster/test_slurm.py
    exit
fi
[ "$(id -u)" = 0 ] || skip "it starts Slurm and mounts disks, for which it must be root"
command -v setpriv > /dev/null && "${spaces[@]}" true 2> /dev/null ||
    skip "this machine gives root no name spaces of its own (unshare --pid --mount-proc)"
if ! installed; then
    command -v apt-get > /dev/null ||
        skip "there is no Slurm here and no apt-get: install slurmctld, slurmd, sbatch and faketime"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        slurmctld slurmd slurm-client faketime
fi
make --no-print-directory environment .venv-ray/installed
# A child, so that this shell, and with it everything, ends at once by a signal to it.
setpriv --pdeathsig KILL "${spaces[@]}" bash tests/cluster/run.sh inside
