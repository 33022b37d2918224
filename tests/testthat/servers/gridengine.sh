#!/bin/sh
# A Grid Engine of one host, as Debian's packages bring it along, for as long as a test wants it.
#
#   gridengine.sh start <folder>   as root; says what to set in the environment
#   gridengine.sh stop <folder>
#
# Its state is where the packages have put it, so one test at a time has it. Status 77: it cannot run here, and the reason has
# been printed.
set -eu
. "$(dirname "$0")/common.sh"
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default
cell=$SGE_ROOT/$SGE_CELL
logs="$cell/spool/qmaster/messages /var/spool/gridengine/qmaster/messages"

start() {
  needs "Grid Engine" sge_qmaster sge_execd qconf qsub qstat
  ! pgrep -x sge_qmaster >/dev/null || lacking "a Grid Engine runs here already"
  getent hosts "$(hostname)" >/dev/null || lacking "Grid Engine has to find this machine by its name, $(hostname)"
  mkdir -p "$folder"
  : >"$folder/is-ours"
  echo "localhost $(hostname)" >"$cell/common/host_aliases"
  sge_qmaster
  await qconf -sh
  qconf -as localhost >/dev/null 2>&1 || true
  # It takes the settings over as it starts.
  set_up
  sge_execd
  add_queue
  # What an earlier job has left.
  qmod -cq all.q >/dev/null
  await is_up
  echo "SGE_ROOT=$SGE_ROOT SGE_CELL=$SGE_CELL"
}

# A queue of it is there, and in no state that a letter stands for.
is_up() { qstat -f | awk '$1 ~ /^all.q@/ { exit NF == 5 ? 0 : 1 } END { if (!NR) exit 1 }'; }

set_up() {
  # Jobs of root's are refused otherwise, and the accounting is written now and then.
  cat >"$folder/edit" <<'EOF'
#!/bin/sh
sed -E -i 's/^(min_uid|min_gid) .*/\1 0/; s/ flush_time=[0-9:]*/ flush_time=00:00:01/' "$1"
# A file of the same second counts as one that has not been edited.
sleep 1
EOF
  chmod +x "$folder/edit"
  EDITOR=$folder/edit qconf -mconf global >/dev/null 2>&1
  sed -E 's/^schedule_interval .*/schedule_interval 0:0:1/; s/^flush_submit_sec .*/flush_submit_sec 1/; s/^flush_finish_sec .*/flush_finish_sec 1/' \
    >"$folder/scheduler" <<EOF
$(qconf -ssconf)
EOF
  qconf -Msconf "$folder/scheduler" >/dev/null 2>&1
}

add_queue() {
  printf 'group_name @allhosts\nhostlist localhost\n' >"$folder/group"
  qconf -shgrp @allhosts >/dev/null 2>&1 || qconf -Ahgrp "$folder/group" >/dev/null
  qconf -sq | sed -E 's/^qname .*/qname all.q/; s/^hostlist .*/hostlist @allhosts/; s/^slots .*/slots 4/; s/^pe_list .*/pe_list NONE/
    s/^load_thresholds .*/load_thresholds NONE/; s/^shell .*/shell \/bin\/sh/' >"$folder/queue"
  qconf -sq all.q >/dev/null 2>&1 || qconf -Aq "$folder/queue" >/dev/null
}

stop() {
  # Another run of the tests may have one.
  test -e "$folder/is-ours" || exit 0
  pgrep -x sge_qmaster >/dev/null || exit 0
  qdel -f -u '*' >/dev/null 2>&1 || true
  await_none qstat -u '*'
  qconf -ke all >/dev/null 2>&1 || true
  qconf -km >/dev/null 2>&1 || true
  await_none pgrep '^sge_'
}

case "$action" in start) start ;; stop) stop ;; esac
