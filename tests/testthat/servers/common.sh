# What the scripts of the servers share: reads the action and the folder, and says what lacks.
action=$1
folder=$2

# Status 77: it cannot run here, and the reason has been printed.
lacking() {
  echo "$1"
  exit 77
}

# As root, with these programs of a server.
needs() {
  of=$1
  shift
  test "$(id -u)" = 0 || lacking "a $of of the test's own needs root"
  for program in "$@"; do
    command -v "$program" >/dev/null || lacking "needs $program of $of: .ci/servers installs it"
  done
}

# So many ports of an address that are free now: none of those that the system itself gives to connections, as one of these may be taken
# in the next moment.
free_ports() {
  perl -MIO::Socket::INET -e '
    my ($count, $address) = @ARGV;
    while (@s < $count) {
      my $port = 10000 + int(rand(20000));
      my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => $address, LocalPort => $port) or next;
      push @s, $socket;
    }
    print join " ", map $_->sockport, @s' "$1" "$2"
}

# Waits until a command succeeds, for half a minute; else shows the ends of these `logs`.
await() {
  for _ in $(seq 300); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  echo "never came true: $*"
  tail -n 20 $logs 2>/dev/null || true
  exit 1
}

# Waits until there is nothing that a command lists, for ten seconds.
await_none() {
  for _ in $(seq 100); do
    test -n "$("$@" 2>/dev/null)" || return 0
    sleep 0.1
  done
}
