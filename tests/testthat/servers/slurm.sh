#!/bin/sh
# A Slurm of one node, for as long as a test wants it.
#
#   slurm.sh start <folder>   as root; keeps everything in the folder; says what to set in the environment
#   slurm.sh stop <folder>
#
# Status 77: it cannot run here, and the reason has been printed.
set -eu
action=$1
folder=$2

lacking() {
  echo "$1"
  exit 77
}

start() {
  test "$(id -u)" = 0 || lacking "a Slurm of the test's own needs root"
  for program in munged mungekey slurmctld slurmd sbatch scontrol; do
    command -v "$program" >/dev/null || lacking "needs $program of Slurm: .ci/servers installs it"
  done
  # Two ports that are free now.
  ports=$(perl -MIO::Socket::INET -e '@s = map IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1"), 1..2; print join " ", map $_->sockport, @s')
  mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
  chmod 755 "$folder"
  chmod 700 "$folder/munge"
  mungekey --create --force --keyfile "$folder/munge/key"
  munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
  write_settings $ports
  export SLURM_CONF="$folder/slurm.conf"
  slurmctld -c -L "$folder/slurmctld.log"
  slurmd -N here -L "$folder/slurmd.log"
  for _ in $(seq 300); do
    case $(sinfo -h -o %T 2>/dev/null) in idle) break ;; esac
    sleep 0.1
  done
  test "$(sinfo -h -o %T)" = idle || {
    tail -n 20 "$folder/slurmctld.log" "$folder/slurmd.log"
    exit 1
  }
  echo "SLURM_CONF=$SLURM_CONF"
}

write_settings() {
  cat >"$folder/slurm.conf" <<EOF
ClusterName=mirai
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
SlurmctldPort=$1
SlurmdPort=$2
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmdSpoolDir=$folder/spool
StateSaveLocation=$folder/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=2
NodeName=here NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=main Nodes=here Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:8
EOF
  echo "CgroupPlugin=cgroup/v1" >"$folder/cgroup.conf"
}

stop() {
  export SLURM_CONF="$folder/slurm.conf"
  test -f "$SLURM_CONF" || exit 0
  # Before their files go.
  servers=$(cat "$folder/slurmd.pid" "$folder/slurmctld.pid" 2>/dev/null || true)
  scancel -f --user=root --signal=KILL --full 2>/dev/null || true
  scancel -f --user=root 2>/dev/null || true
  for _ in $(seq 100); do
    test -n "$(squeue -h 2>/dev/null)" || break
    sleep 0.1
  done
  scontrol shutdown 2>/dev/null || true
  end $servers
  munge=$(cat "$folder/munge/pid" 2>/dev/null || true)
  test -z "$munge" || kill "$munge" 2>/dev/null || true
  end $munge
  # What looks after a job that has not ended.
  for pid in $(pgrep slurmstepd || true); do
    ! grep -qzxF "SLURM_CONF=$SLURM_CONF" "/proc/$pid/environ" 2>/dev/null || kill -9 "$pid" 2>/dev/null || true
  done
}

# Waits for the end of processes, and helps on in the end.
end() {
  for pid in "$@"; do
    for _ in $(seq 50); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
  done
}

case "$action" in start) start ;; stop) stop ;; esac
