#!/bin/sh
# An sshd with keys of its own, for as long as a test wants it.
#
#   sshd.sh start <folder> <address> <file>   sessions have the environment of the file, lines of export; says the port
#   sshd.sh stop <folder>
#
# In the folder, `ssh` connects without asking anything, and `shell` may be the name of another login shell. Status 77: it
# cannot run here, and the reason has been printed.
set -eu
. "$(dirname "$0")/common.sh"
logs=$folder/log

start() {
  sshd=$(command -v sshd || echo /usr/sbin/sshd)
  test -x "$sshd" && command -v ssh >/dev/null && command -v ssh-keygen >/dev/null ||
    lacking "needs sshd and ssh: .ci/servers installs them"
  mkdir -p "$folder"
  chmod 700 "$folder"
  # Where it puts away its rights; of a system that has never started one it is missing.
  test "$(id -u)" != 0 || mkdir -p /run/sshd
  for key in host user; do
    ssh-keygen -q -t ed25519 -N '' -f "$folder/$key"
  done
  port=$(free_ports 1 "$1")
  cat >"$folder/config" <<EOF
Port $port
ListenAddress $1
HostKey $folder/host
AuthorizedKeysFile $folder/user.pub
PidFile $folder/pid
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
ForceCommand $folder/login
EOF
  cp "$2" "$folder/environment"
  cat >"$folder/login" <<EOF
#!/bin/sh
. "$folder/environment"
exec "\$(cat "$folder/shell" 2>/dev/null || echo /bin/sh)" -c "\$SSH_ORIGINAL_COMMAND"
EOF
  cat >"$folder/ssh" <<EOF
#!/bin/sh
exec ssh -F none -i "$folder/user" -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR -o BatchMode=yes "\$@"
EOF
  chmod +x "$folder/login" "$folder/ssh"
  "$sshd" -f "$folder/config" -E "$folder/log"
  await test -s "$folder/pid"
  echo "$port"
}

stop() {
  test ! -s "$folder/pid" || kill "$(cat "$folder/pid")" 2>/dev/null || true
}

case "$action" in
  start) shift 2 && start "$@" ;;
  stop) stop ;;
esac
