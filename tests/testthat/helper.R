# What the tests share. Tests wait for events: for values, or by await() for a file, a process or a count.

defer <- function(expr, frame = parent.frame()) {
  thunk <- as.call(list(function() expr))
  do.call(base::on.exit, list(thunk, TRUE, FALSE), envir = frame)
}

# Daemons until the end of the test.
local_pool <- function(..., .compute = NULL, frame = parent.frame()) {
  result <- daemons(..., .compute = .compute)
  defer(daemons(0, .compute = .compute), frame)
  invisible(result)
}

# Waits for a condition. The time only guards against hanging.
await <- function(condition, seconds = 60) {
  condition <- substitute(condition)
  frame <- parent.frame()
  end <- Sys.time() + seconds
  while (!isTRUE(eval(condition, frame))) {
    if (Sys.time() > end) stop("never came true: ", paste(deparse(condition), collapse = " "))
    Sys.sleep(0.01)
  }
  invisible(TRUE)
}

# Collects, but not for ever.
value <- function(m, seconds = 180) {
  await(!unresolved(m), seconds)
  m[]
}

# A task that runs until its gate is opened. `started()` waits for it to run.
hold <- function(.compute = NULL) {
  started <- tempfile("started")
  gate <- tempfile("gate")
  m <- mirai(
    {
      file.create(started)
      while (!file.exists(gate)) Sys.sleep(0.005)
      "held"
    },
    .args = list(started = started, gate = gate),
    .compute = .compute
  )
  list(m = m, started = function() await(file.exists(started)), open = function() file.create(gate))
}

# Evaluates an expression that may be the first to tell of daemons that have died.
untold <- function(expr) {
  withCallingHandlers(expr, warning = function(w) {
    if (grepl("^mirai: (a daemon has|[0-9]+ daemons have) died", conditionMessage(w))) invokeRestart("muffleWarning")
  })
}

expect_code <- function(object, code) {
  expect_s3_class(object, c("errorValue", "try-error"), exact = TRUE)
  expect_identical(as.integer(unclass(object)), code)
}

# The message and the call of the error that an expression raises.
expect_refused <- function(expr, message, fun) {
  e <- tryCatch(expr, error = identity)
  expect_s3_class(e, c("simpleError", "error", "condition"), exact = TRUE)
  expect_match(conditionMessage(e), message, fixed = TRUE)
  expect_identical(as.character(conditionCall(e)[[1L]]), fun)
}

printed <- function(x) utils::capture.output(print(x))

# ---- processes

rscript <- file.path(R.home("bin"), "Rscript")

# Variables for a process with the packages of this one.
child_env <- function(...) c(paste0("R_LIBS=", paste(.libPaths(), collapse = .Platform$path.sep)), ...)

# Starts R code as a process of its own: a list of its pid, the file of its output, and a function that waits for its end.
# `at_prompt`: as an interactive session that is typed into; `in_terminal`: in the foreground of a terminal; `within`: a command
# that runs the one that follows it. It is killed at the end of the test, unless `frame` is `NULL`.
spawn <- function(code, env = character(), libs = child_env(), frame = parent.frame(), at_prompt = FALSE, in_terminal = FALSE,
                  within = character()) {
  folder <- tempfile("spawn")
  dir.create(folder)
  script <- file.path(folder, "script.R")
  pid_file <- file.path(folder, "pid")
  log <- file.path(folder, "log")
  writeLines(c(
    sprintf("writeLines(as.character(Sys.getpid()), '%s.new')", pid_file),
    sprintf("invisible(file.rename('%s.new', '%s'))", pid_file, pid_file),
    code
  ), script)
  # A shell ignores interrupts in what it starts in the background, and from 4.6 on R leaves it at that.
  interruptible <- if (nzchar(Sys.which("perl"))) c("perl", "-e", shQuote("$SIG{INT} = 'DEFAULT'; exec @ARGV"))
  command <- if (at_prompt) c(shQuote(file.path(R.home("bin"), "R")), "--interactive", "--no-readline", "--no-echo", "--no-save") else
    c(shQuote(rscript), shQuote(script))
  # What a terminal has shown is in the log only once the program that plays the terminal says so.
  if (in_terminal) command <- c("script", "-qec", shQuote(paste(c(command, "; echo all shown"), collapse = " ")), "/dev/null")
  command <- c(interruptible, within, command)
  system2(command[1L], command[-1L], stdout = log, stderr = log, stdin = if (at_prompt) script else "", wait = FALSE, env = c(libs, env))
  await(file.exists(pid_file))
  pid <- as.integer(readLines(pid_file))
  if (!is.null(frame)) defer(if (alive(pid)) tools::pskill(pid, tools::SIGKILL), frame)
  list(
    pid = pid,
    log = function() if (file.exists(log)) readLines(log, warn = FALSE) else character(),
    wait = function(seconds = 60) {
      await(!alive(pid), seconds)
      if (in_terminal) await(any(grepl("all shown", readLines(log, warn = FALSE), fixed = TRUE)))
      readLines(log, warn = FALSE)
    }
  )
}

# Runs R code in a process of its own, to its end, and returns its output.
run_r <- function(code, ..., seconds = 60) spawn(code, ..., frame = environment())$wait(seconds)

# Is there such a process, and not only its exit status that nobody has asked for?
alive <- function(pid) {
  if (!tools::pskill(pid, 0L)) return(FALSE)
  stat <- sprintf("/proc/%d/stat", pid)
  if (!file.exists(stat)) return(Sys.info()[["sysname"]] != "Linux")
  gone <- function(condition) "0 (x) Z"
  text <- tryCatch(readLines(stat, warn = FALSE), error = gone, warning = gone)
  !grepl("\\) [ZX]", text[1L])
}

parent_of <- function(pid) as.integer(sub("^PPid:\\s+", "", grep("^PPid:", readLines(sprintf("/proc/%d/status", pid)), value = TRUE)))

# A process that hands on what comes to a port of its own to another of this machine. Whoever makes the file `cut` has the connections
# through it cut; then it removes that file.
start_relay <- function(to, frame = parent.frame()) {
  port <- free_port()
  cut <- tempfile("cut")
  ready <- tempfile("ready")
  spawn(c(sprintf("to <- %d; port <- %d; cut <- '%s'; ready <- '%s'", to, port, cut, ready), deparse(relay_code)), frame = frame)
  await(file.exists(ready))
  list(port = port, cut = cut)
}

relay_code <- quote({
  listener <- serverSocket(port)
  file.create(ready)
  # Each end beside the one that it is handed on to.
  ends <- list()
  drop <- function(which) {
    for (end in ends[which]) close(end$from)
    if (length(which)) ends <<- ends[-which]
  }
  accept <- function() {
    from <- socketAccept(listener, blocking = FALSE, open = "r+b")
    beyond <- socketConnection("127.0.0.1", to, blocking = FALSE, open = "r+b")
    ends <<- c(ends, list(list(from = from, to = beyond), list(from = beyond, to = from)))
  }
  repeat {
    if (file.exists(cut)) {
      drop(seq_along(ends))
      file.remove(cut)
    }
    ready <- socketSelect(c(list(listener), lapply(ends, function(end) end$from)), timeout = 0.05)
    over <- integer()
    for (i in which(ready[-1L])) {
      bytes <- readBin(ends[[i]]$from, raw(), 65536L)
      if (length(bytes)) writeBin(bytes, ends[[i]]$to) else over <- c(over, if (i %% 2L) c(i, i + 1L) else c(i - 1L, i))
    }
    drop(unique(over))
    if (ready[1L]) accept()
  }
})

needs_package <- function(name, version) {
  found <- tryCatch(utils::packageVersion(name), error = function(e) NULL)
  if (is.null(found)) testthat::skip(paste0("no package ", name))
  if (found < version) testthat::skip(sprintf("package %s %s is older than %s", name, found, version))
}

# For files that take long, and servers. The other ones suffice to see whether the package is whole as it was built.
skip_within_check <- function() {
  checking <- nzchar(Sys.getenv("_R_CHECK_PACKAGE_NAME_")) && !identical(Sys.getenv("NOT_CRAN"), "true")
  if (checking) testthat::skip("takes long, so not within R CMD check, unless NOT_CRAN is true")
}

skip_unless_linux <- function() testthat::skip_if_not(Sys.info()[["sysname"]] == "Linux", "needs /proc")

# Processes of the daemons of this session, by their parent's parent or their command line.
daemon_pids <- function(.compute = NULL, url = status(.compute)$daemons) {
  pids <- as.integer(grep("^[0-9]+$", list.files("/proc"), value = TRUE))
  shows <- function(pid) {
    # A jump out of the warning would leave the connection open.
    path <- sprintf("/proc/%d/cmdline", pid)
    line <- suppressWarnings(tryCatch(readBin(path, "raw", 4096L), error = function(e) raw()))
    line[line == 0L] <- charToRaw(" ")
    grepl(sprintf("mirai::daemon(\"%s\"", url), rawToChar(line), fixed = TRUE)
  }
  Filter(function(pid) shows(pid) && alive(pid), pids)
}

# A command in whose mount namespace there is no /proc. Daemons are started by Rscript there.
without_proc <- function() {
  words <- c("unshare", "--mount", "sh", "-c", shQuote("mount -t tmpfs none /proc && exec \"$@\""), "sh")
  skip_unless_linux()
  skip_if(Sys.which("unshare") == "", "needs the program unshare")
  skip_if(suppressWarnings(system2(words[1L], c(words[-1L], "true"), stdout = FALSE, stderr = FALSE)) != 0L,
          "only root can take /proc away")
  words
}

# ---- servers

# A test may be in another folder when it wants one.
servers <- normalizePath(testthat::test_path("servers"), mustWork = FALSE)

# A server of the test's own, started by a script in the folder `servers`: what that has said, and the server's folder. It is
# stopped at the end of the test, which is skipped, with the reason, where the server cannot run.
server <- function(name, ..., within = character(), frame = parent.frame()) {
  running <- start_server(name, ..., within = within)
  defer(running$stop(), frame)
  running
}

# The same for several tests: whoever starts it has to `stop()` it.
start_server <- function(name, ..., within = character()) {
  skip_unless_linux()
  skip_within_check()
  script <- file.path(servers, paste0(name, ".sh"))
  folder <- tempfile(name)
  log <- tempfile("log")
  run <- function(action, ...) {
    words <- c(within, "sh", shQuote(script), action, shQuote(folder), ...)
    suppressWarnings(system2(words[1L], words[-1L], stdout = log, stderr = log))
  }
  started <- FALSE
  on.exit(if (!started) run("stop"))
  status <- run("start", ...)
  said <- readLines(log, warn = FALSE)
  if (status == 77L) testthat::skip(paste(said, collapse = " "))
  if (status != 0L) stop(paste(c("the server does not start:", said), collapse = "\n"))
  started <- TRUE
  list(folder = folder, said = said[length(said)], stop = function() run("stop"))
}

# A port that nobody listens at, for now, nor dials from: those of connections begin at 32768.
free_port <- function() {
  for (port in sample(20000:32000, 50L)) {
    socket <- tryCatch(serverSocket(port), error = function(e) NULL, warning = function(w) NULL)
    if (is.null(socket)) next
    close(socket)
    return(port)
  }
  stop("no port is free")
}

# Sets environment variables, "NAME=value", until the end of the test.
local_variables <- function(..., frame = parent.frame()) {
  variables <- c(...)
  names <- sub("=.*", "", variables)
  before <- Sys.getenv(names, NA, names = TRUE)
  defer({
    Sys.unsetenv(names[is.na(before)])
    if (!all(is.na(before))) do.call(Sys.setenv, as.list(before[!is.na(before)]))
  }, frame)
  do.call(Sys.setenv, as.list(stats::setNames(sub("^[^=]*=", "", variables), names)))
}

# ---- machines

# A machine of its own for daemons, as far as a network namespace is one: a function that runs a command there, the addresses of
# this side and that one, also by IPv6, and functions that cut the cable and mend it.
machines <- 0L

other_machine <- function(frame = parent.frame()) {
  skip_unless_linux()
  skip_if(Sys.which("ip") == "", "needs the program ip")
  ip <- function(...) suppressWarnings(system2("ip", c(...), stdout = FALSE, stderr = FALSE)) == 0L
  # One that is gone may keep its name for a while.
  machines <<- machines + 1L
  name <- sprintf("mirai%d.%d", Sys.getpid(), machines)
  skip_if_not(ip("netns", "add", name), "only root can make network namespaces")
  defer({
    # What still looks for its host there.
    left <- suppressWarnings(system2("ip", c("netns", "pids", name), stdout = TRUE, stderr = FALSE))
    tools::pskill(as.integer(left), tools::SIGKILL)
    ip("netns", "del", name)
  }, frame)
  here <- sprintf("mh%d.%d", Sys.getpid(), machines)
  there <- sprintf("md%d.%d", Sys.getpid(), machines)
  # Of its own, as the tests of another session may be at work here.
  net <- (4L * Sys.getpid() + machines) %% 16384L
  address <- sprintf("10.213.%d.%d", net %/% 64L, net %% 64L * 4L + 1:2)
  made <- ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name) &&
    ip("addr", "add", paste0(address[1L], "/30"), "dev", here) && ip("link", "set", here, "up") &&
    ip("-n", name, "addr", "add", paste0(address[2L], "/30"), "dev", there) && ip("-n", name, "link", "set", there, "up") &&
    ip("-n", name, "link", "set", "lo", "up")
  skip_if_not(made, "no virtual network can be made here")
  address6 <- sprintf("fd00:213::%x:%d", net, 1:2)
  has_ipv6 <- ip("-6", "addr", "add", paste0(address6[1L], "/112"), "dev", here, "nodad") &&
    ip("-n", name, "-6", "addr", "add", paste0(address6[2L], "/112"), "dev", there, "nodad")
  list(
    within = c("ip", "netns", "exec", name), address = address[1L], its_address = address[2L],
    address6 = if (has_ipv6) address6[1L],
    # A narrow line with room for few packets: what comes faster is lost.
    narrow = function() system2("ip", c("netns", "exec", name, "tc", "qdisc", "add", "dev", there, "root", "tbf", "rate", "4mbit",
                                        "burst", "16kb", "latency", "20ms"), stdout = FALSE, stderr = FALSE) == 0L,
    cut = function() ip("-n", name, "link", "set", there, "down"),
    # A link that goes down loses its global addresses of IPv6, and those only.
    mend = function() {
      ip("-n", name, "link", "set", there, "up") &&
        (!has_ipv6 || ip("-n", name, "-6", "addr", "add", paste0(address6[2L], "/112"), "dev", there, "nodad"))
    },
    # So many of a hundred packets are lost at random, in either direction.
    lose = function(percent) {
      rule <- sprintf("numgen random mod 100 < %d drop", percent)
      hooks <- vapply(c("ingress", "egress"), function(hook) sprintf(
        "chain %s { type filter hook %s device %s priority 0; %s; }", hook, hook, there, rule
      ), "")
      file <- tempfile("rules")
      writeLines(c("table netdev lossy {", hooks, "}"), file)
      suppressWarnings(system2("ip", c("netns", "exec", name, "nft", "-f", file), stdout = FALSE, stderr = FALSE)) == 0L
    },
    lose_nothing = function() system2("ip", c("netns", "exec", name, "nft", "delete", "table", "netdev", "lossy")) == 0L
  )
}
