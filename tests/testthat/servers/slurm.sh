#!/bin/sh
# A Slurm of one node, for as long as a test wants it; with accounts where slurmdbd and MariaDB are installed, and limits of memory
# where the system has control groups for it.
#
#   slurm.sh start <folder>   as root; keeps everything in the folder; says what to set in the environment
#   slurm.sh stop <folder>
#
# Status 77: it cannot run here, and the reason has been printed.
set -eu
. "$(dirname "$0")/common.sh"
logs="$folder/slurmctld.log $folder/slurmd.log $folder/slurmdbd.log $folder/accounts/log.err"

start() {
  needs Slurm munged mungekey slurmctld slurmd sbatch scontrol
  ports=$(free_ports 3 127.0.0.1)
  mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
  chmod 755 "$folder"
  chmod 700 "$folder/munge"
  mungekey --create --force --keyfile "$folder/munge/key"
  munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
  write_settings $ports
  export SLURM_CONF="$folder/slurm.conf"
  if has_accounting; then start_accounting ${ports##* }; fi
  slurmctld -c -L "$folder/slurmctld.log"
  slurmd -N here -L "$folder/slurmd.log"
  await is_idle
  echo "SLURM_CONF=$SLURM_CONF$(! has_accounting || echo " HAS_ACCOUNTS=yes")$(! limits_memory || echo " LIMITS_MEMORY=yes")"
}

is_idle() { test "$(sinfo -h -o %T)" = idle; }

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
TaskPlugin=$(if limits_memory; then echo task/cgroup; else echo task/none; fi)
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1000
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=2
NodeName=here NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 CPUs=8 RealMemory=24000 State=UNKNOWN
PartitionName=main Nodes=here Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:8
EOF
  printf 'CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nConstrainRAMSpace=yes\n' >"$folder/cgroup.conf"
}

limits_memory() { test -w /sys/fs/cgroup/memory/memory.limit_in_bytes || test -w /sys/fs/cgroup/memory/cgroup.procs; }

has_accounting() {
  for program in slurmdbd mariadbd mariadb-install-db sacctmgr; do
    command -v "$program" >/dev/null || return 1
  done
}

# The accounts: slurmdbd before a MariaDB that only it can reach.
start_accounting() {
  mkdir -m 700 "$folder/accounts"
  mariadb-install-db --no-defaults --user=root --datadir="$folder/accounts/data" --skip-test-db \
    --auth-root-authentication-method=normal >"$folder/accounts/install.log" 2>&1
  mariadbd --no-defaults --user=root --datadir="$folder/accounts/data" --socket="$folder/accounts/socket" \
    --pid-file="$folder/accounts/pid" --log-error="$folder/accounts/log.err" --skip-networking --skip-grant-tables \
    --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=32M >/dev/null 2>&1 </dev/null &
  await test -S "$folder/accounts/socket"
  cat >"$folder/slurmdbd.conf" <<EOF
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$1
SlurmUser=root
LogFile=$folder/slurmdbd.log
PidFile=$folder/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
EOF
  chmod 600 "$folder/slurmdbd.conf"
  cat >>"$folder/slurm.conf" <<EOF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$1
AccountingStoragePass=$folder/munge/socket
EOF
  MYSQL_UNIX_PORT="$folder/accounts/socket" slurmdbd
  await sacctmgr -i add cluster mirai
}

stop() {
  export SLURM_CONF="$folder/slurm.conf"
  test -f "$SLURM_CONF" || exit 0
  # Before their files go.
  servers=$(cat "$folder/slurmd.pid" "$folder/slurmctld.pid" 2>/dev/null || true)
  accounts=$(cat "$folder/slurmdbd.pid" "$folder/accounts/pid" 2>/dev/null || true)
  scancel -f --user=root --signal=KILL --full 2>/dev/null || true
  scancel -f --user=root 2>/dev/null || true
  await_none squeue -h
  scontrol shutdown 2>/dev/null || true
  end $servers
  test -z "$accounts" || kill $accounts 2>/dev/null || true
  end $accounts
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
