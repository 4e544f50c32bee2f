# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# For shells in a job that no TaskProlog saw, such as ssh adopted by pam_slurm_adopt: where the job's Docker is.
if [ -z "${DOCKER_HOST:-}" ] && [ -S /run/slurm-hooks/docker.sock ] &&
    grep -qE 'slurmstepd\.scope/|:/slurm(_[^/]*)?/uid_' /proc/self/cgroup 2>/dev/null; then
    DOCKER_HOST=unix:///run/slurm-hooks/users/$(id -u).sock
    [ -S "${DOCKER_HOST#unix://}" ] || DOCKER_HOST=unix:///run/slurm-hooks/docker.sock
    export DOCKER_HOST
fi
