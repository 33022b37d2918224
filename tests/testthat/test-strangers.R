# Other users of this machine, who can reach a host's local socket, and get nothing from it.

skip_within_check()

# Another user who connects for ever; returns what tells how often, and ends it. The socket is an abstract one.
start_stranger <- function(url, frame = parent.frame()) {
  log <- tempfile("stranger")
  script <- paste(
    "use Socket; $| = 1; my $n = 0; $SIG{TERM} = sub { print \"$n\\n\"; exit };",
    "for (;;) { socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; connect($s, pack_sockaddr_un(\"\\0$ARGV[0]\")) or die;",
    "close $s; print \"begun $$\\n\" if ++$n == 100 }"
  )
  system2("setpriv", c("--reuid=65534", "--clear-groups", "perl", "-e", shQuote(script), sub("^abstract://", "", url)),
          stdout = log, wait = FALSE)
  said <- function() readLines(log, warn = FALSE)
  await(file.exists(log) && length(said()) > 0L)
  pid <- as.integer(sub("begun ", "", said()[1L]))
  defer(if (alive(pid)) tools::pskill(pid, tools::SIGKILL), frame)
  function() {
    tools::pskill(pid, tools::SIGTERM)
    await(length(said()) > 1L)
    as.numeric(said()[2L])
  }
}

skip_unless_stranger <- function() {
  tools <- all(nzchar(Sys.which(c("setpriv", "perl"))))
  is_root <- Sys.info()[["sysname"]] == "Linux" && Sys.info()[["user"]] == "root"
  skip_if_not(is_root && tools, "needs Linux, root, setpriv and perl, to be another user")
}

test_that("strangers who come all the time wait, and not tasks", {
  skip_unless_stranger()
  local_pool(1)
  value(mirai(1))
  begin <- proc.time()[["elapsed"]]
  count <- start_stranger(status()$daemons)
  values <- vapply(1:2000, function(i) mirai(i, i = i)[], 1L)
  expect_identical(values, 1:2000)
  count <- count()
  # However fast or busy the machine is: 4,000 a second and those of a burst come in.
  expect_lt(count, 5000 * (proc.time()[["elapsed"]] - begin) + 1000)
})

test_that("a daemon comes in though strangers come all the time", {
  skip_unless_stranger()
  local_pool(1)
  count <- start_stranger(status()$daemons)
  launch_local(1)
  await(info()[["connections"]] == 2L)
  expect_gt(count(), 0)
})
