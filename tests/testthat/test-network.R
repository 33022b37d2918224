# Pools that listen to a network: addresses, certificates, tokens, and what strangers get.

skip_within_check()

pem <- function(text) regmatches(text, gregexpr("-----BEGIN [A-Z ]+-----", text))[[1L]]

# A daemon in a process of its own, with these further arguments of daemon() as text.
network_daemon <- function(url, arguments = "", env = character(), frame = parent.frame()) {
  spawn(sprintf("mirai::daemon('%s'%s)", url, arguments), env = env, frame = frame)
}

test_that("host_url() has this machine's addresses by interface", {
  urls <- host_url()
  expect_type(urls, "character")
  expect_gte(length(urls), 1L)
  expect_match(urls, "^tcp://[^:]+:0$")
  expect_false(any(grepl("127.0.0.1", urls, fixed = TRUE)))
  expect_match(host_url(tls = TRUE, port = 5555), "^tls\\+tcp://[^:]+:5555$")
  expect_identical(names(host_url(tls = TRUE)), names(urls))
  expect_refused(host_url(port = 70000), "`port` must be a whole number between 0 and 65535", "host_url")
  expect_refused(host_url(tls = NA), "`tls` must be", "host_url")
})

test_that("with TLS certificates and a token are made on the spot, and launched daemons have them", {
  local_pool(url = "tls+tcp://127.0.0.1:0")
  tls <- nextget("tls")
  expect_length(tls, 2L)
  expect_identical(tls[2L], "")
  expect_identical(pem(tls[1L]), sprintf("-----BEGIN %s-----", c("CERTIFICATE", "CERTIFICATE", "PRIVATE KEY", "MIRAI TOKEN")))
  launch_local(1)
  expect_identical(value(mirai(6 * 7)), 42)
  expect_identical(value(mirai(length(x), x = raw(3e6))), 3000000L)
  # The command for elsewhere has them, too.
  command <- launch_remote(1)
  expect_match(unclass(command), tls[1L], fixed = TRUE)
})

test_that("secrets are shown by no list of processes, and in no error", {
  skip_unless_linux()
  local_pool(url = "tls+tcp://127.0.0.1:0")
  launch_local(1)
  line <- value(mirai(readLines("/proc/self/cmdline", warn = FALSE, skipNul = TRUE)))
  expect_match(paste(line, collapse = " "), "mirai::daemon(\"tls+tcp://127.0.0.1", fixed = TRUE)
  expect_false(any(grepl("BEGIN", line)))
  # Typed into a shell, it is hidden by the daemon itself.
  other <- tempfile(fileext = ".sh")
  writeLines(c(paste("export", shQuote(child_env())), sub("^Rscript", shQuote(rscript), unclass(launch_remote(1)))), other)
  system2("sh", shQuote(other), wait = FALSE)
  await(info()[["connections"]] == 2L)
  # The system does not tell whose the connections are, so the daemons do.
  pids <- everywhere(Sys.getpid())[.flat]
  expect_length(unique(pids), 2L)
  bodies <- grep("^[^-]{12}", strsplit(nextget("tls")[1L], "\n", fixed = TRUE)[[1L]], value = TRUE)
  expect_gt(length(bodies), 3L)
  for (pid in pids) {
    line <- paste(readLines(sprintf("/proc/%d/cmdline", pid), warn = FALSE, skipNul = TRUE), collapse = " ")
    expect_match(line, "mirai::daemon(\"tls+tcp://127.0.0.1", fixed = TRUE)
    expect_false(grepl("BEGIN", line, fixed = TRUE))
    for (body in bodies) expect_false(grepl(body, line, fixed = TRUE))
  }
})

test_that("a daemon that fails shows nothing of what it was given to prove itself, nor does daemons()", {
  local_pool(url = "tls+tcp://127.0.0.1:0")
  command <- sub("^Rscript", shQuote(rscript), unclass(launch_remote(1)))
  daemons(0)
  script <- tempfile(fileext = ".sh")
  writeLines(c(paste("export", shQuote(child_env())), command), script)
  out <- suppressWarnings(system2("sh", shQuote(script), stdout = TRUE, stderr = TRUE))
  expect_match(paste(out, collapse = " "), "tlscert = ....* 6 | Connection refused")
  expect_false(any(grepl("BEGIN|PRIVATE|TOKEN", out)))
  shown_for <- function(expr) deparse(conditionCall(tryCatch(expr, error = identity, warning = identity)), 200L)
  expect_identical(shown_for(daemons(url = "tls+tcp://:0", tls = c("a", "b"), pass = "secret")),
                   "daemons(url = \"tls+tcp://:0\", tls = ..., pass = ...)")
  expect_identical(shown_for(daemons(url = local_url(), pass = "secret")), "daemons(url = local_url(), pass = ...)")
  expect_identical(shown_for(daemons("a", remote = http_config("http://127.0.0.1:1", token = "secret", cookie = "secret"))),
                   "daemons(\"a\", remote = http_config(\"http://127.0.0.1:1\", token = ..., cookie = ...))")
})

expect_dialled_at_one <- function(url, frame = parent.frame()) {
  local_pool(url = url, token = TRUE, frame = frame)
  launch_local(1)
  expect_identical(value(mirai(1)), 1)
  host <- sub("^tcp://(.*):0$", "\\1", host_url()[[1L]])
  dialled <- sprintf("daemon(\"%s://%s:%s\"", sub(":.*", "", url), host, sub(".*:", "", nextget("url")))
  expect_match(launch_remote(1), dialled, fixed = TRUE)
}

test_that("a pool at all addresses of this machine is dialled at one of them", {
  for (url in c("tcp://:0", "ws://:0", "tls+tcp://:0", "tcp://0.0.0.0:0", "tls+tcp://0.0.0.0:0")) expect_dialled_at_one(url)
})

test_that("so is one that gives all of them in the manner of IPv6", {
  refusal <- tryCatch({daemons(url = "tcp://[::1]:0"); daemons(0); NULL}, error = conditionMessage)
  skip_if_not(is.null(refusal), paste("there is no IPv6 here:", refusal))
  for (url in c("tcp://[::]:0", "tls+tcp://[0:0:0:0:0:0:0:0]:0")) expect_dialled_at_one(url)
})

test_that("who has not the right certificate or token is told so, and gets nothing", {
  local_pool(url = "tls+tcp://127.0.0.1:0")
  url <- nextget("url")
  plain <- network_daemon(sub("tls+tcp", "tcp", url, fixed = TRUE))
  bare <- network_daemon(url)
  local_pool(url = "tls+tcp://127.0.0.1:0", .compute = "other")
  others <- tempfile()
  writeLines(nextget("tls", "other")[1L], others)
  foreign <- network_daemon(url, sprintf(", tlscert = '%s'", others))
  expect_match(plain$wait(), "TLS", all = FALSE)
  expect_match(bare$wait(), "27 | Peer could not be authenticated", all = FALSE, fixed = TRUE)
  expect_match(foreign$wait(), "27 | Peer could not be authenticated", all = FALSE, fixed = TRUE)
  expect_identical(info()[["cumulative"]], 0L)
  await(sum(status()$refused) >= 1L)
  own <- tempfile()
  writeLines(nextget("tls")[1L], own)
  network_daemon(url, sprintf(", tlscert = '%s'", own))
  expect_identical(value(mirai("in")), "in")
})

test_that("a token keeps others out without TLS, and comes from the environment where both sides have it there", {
  local_pool(url = "tcp://127.0.0.1:0", token = TRUE)
  expect_identical(pem(nextget("tls")[1L]), "-----BEGIN MIRAI TOKEN-----")
  without <- network_daemon(nextget("url"))
  expect_match(without$wait(), "27 | Peer could not be authenticated", all = FALSE, fixed = TRUE)
  launch_local(1)
  expect_identical(value(mirai("in")), "in")
  expect_identical(info()[["cumulative"]], 1L)
  daemons(0)

  old <- Sys.getenv("MIRAI_TOKEN", NA)
  defer(if (is.na(old)) Sys.unsetenv("MIRAI_TOKEN") else Sys.setenv(MIRAI_TOKEN = old))
  Sys.setenv(MIRAI_TOKEN = strrep("0f", 32L))
  daemons(url = "tcp://127.0.0.1:0", token = TRUE)
  Sys.unsetenv("MIRAI_TOKEN")
  wrong <- network_daemon(nextget("url"), env = paste0("MIRAI_TOKEN=", strrep("00", 32L)))
  expect_match(wrong$wait(), "27 | Peer could not be authenticated", all = FALSE, fixed = TRUE)
  none <- network_daemon(nextget("url"), env = "MIRAI_TOKEN=abc")
  expect_match(none$wait(), "MIRAI_TOKEN holds no token", all = FALSE)
  network_daemon(nextget("url"), env = paste0("MIRAI_TOKEN=", strrep("0f", 32L)))
  expect_identical(value(mirai("in")), "in")
})

test_that("a token of the environment is in no command, and daemons of this session have it in theirs", {
  set_token <- function(token) if (is.na(token)) Sys.unsetenv("MIRAI_TOKEN") else Sys.setenv(MIRAI_TOKEN = token)
  old <- Sys.getenv("MIRAI_TOKEN", NA)
  defer(set_token(old))
  for (url in c("tcp://127.0.0.1:0", "ws://127.0.0.1:0", "tls+tcp://127.0.0.1:0")) {
    set_token(strrep("0f", 32L))
    local_pool(url = url, token = TRUE)
    is_tls <- startsWith(url, "tls")
    for (text in c(unclass(launch_remote(1)), nextget("tls")[1L])) expect_identical(grepl("BEGIN", text), is_tls)
    expect_false(any(grepl("TOKEN", c(unclass(launch_remote(1)), nextget("tls")))))
    expect_identical(is.null(nextget("tls")), !is_tls)
    # What becomes of the variable here makes no difference to the pool.
    for (now in c(NA, strrep("00", 32L))) {
      set_token(now)
      launch_local(1, maxtasks = 1)
      expect_identical(value(mirai(Sys.getenv("MIRAI_TOKEN"))), strrep("0f", 32L))
    }
    skip_if(.Platform$OS.type == "windows", "needs a shell")
    launch_remote(1, remote_config(rscript, ".", rscript = "--vanilla"), maxtasks = 1)
    expect_identical(value(mirai("by a command")), "by a command")
  }
})

test_that("a token in the environment keeps no daemon of this session from a pool that asks for none, and others are told of", {
  old <- Sys.getenv("MIRAI_TOKEN", NA)
  defer(if (is.na(old)) Sys.unsetenv("MIRAI_TOKEN") else Sys.setenv(MIRAI_TOKEN = old))
  Sys.setenv(MIRAI_TOKEN = strrep("0f", 32L))
  local_pool(url = "tcp://127.0.0.1:0", token = FALSE)
  launch_local(1)
  expect_identical(value(mirai(Sys.getenv("MIRAI_TOKEN", "none"))), "none")
  elsewhere <- network_daemon(nextget("url"))
  expect_match(elsewhere$wait(), "the host does not ask for the token", all = FALSE)
  out <- run_r(c("library(mirai)", "for (i in 1:2) daemons(url = 'tcp://127.0.0.1:0')"))
  expect_length(grep("MIRAI_TOKEN is set, and `tcp://127.0.0.1:[0-9]+` does not ask for that token", out), 1L)
  quiet <- c("daemons(url = 'tcp://127.0.0.1:0', token = TRUE)", "daemons(url = 'tcp://127.0.0.1:0', token = FALSE)",
             "daemons(url = 'tls+tcp://127.0.0.1:0')", "daemons(url = local_url())")
  expect_identical(run_r(c("library(mirai)", quiet, "cat('end\n')")), "end")
})

test_that("a daemon that waits for its host is ended by nobody else who listens there meanwhile", {
  old <- Sys.getenv("MIRAI_TOKEN", NA)
  defer(if (is.na(old)) Sys.unsetenv("MIRAI_TOKEN") else Sys.setenv(MIRAI_TOKEN = old))
  Sys.setenv(MIRAI_TOKEN = strrep("0f", 32L))
  local_pool(url = "tcp://127.0.0.1:0", token = TRUE)
  url <- nextget("url")
  daemon <- network_daemon(url, ", autoexit = FALSE")
  expect_identical(value(mirai(Sys.getpid())), daemon$pid)
  daemons(0)
  Sys.setenv(MIRAI_TOKEN = strrep("00", 32L))
  for (other in c(url, sub("tcp", "tls+tcp", url, fixed = TRUE))) {
    daemons(url = other, token = TRUE)
    await(sum(status()$refused) >= 1L)
    daemons(0)
  }
  Sys.setenv(MIRAI_TOKEN = strrep("0f", 32L))
  daemons(url = url, token = TRUE)
  expect_identical(value(mirai(Sys.getpid())), daemon$pid)
})

test_that("own certificates serve, with a password given as such or by a function", {
  skip_if(Sys.which("openssl") == "", "needs the program openssl")
  folder <- tempfile()
  dir.create(folder)
  file <- function(name) file.path(folder, name)
  made <- system2("openssl", c("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", file("key"),
    "-out", file("cert"), "-days", "2", "-passout", "pass:secret", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
    stdout = FALSE, stderr = FALSE)
  skip_if(made != 0L, "openssl makes no certificate")
  text <- function(name) paste0(readLines(file(name)), "\n", collapse = "")
  writeLines(c(text("cert"), text("key")), file("both"))
  for (pass in list("secret", function() "secret")) for (tls in list(file("both"), c(text("cert"), text("key")))) {
    daemons(url = "tls+tcp://127.0.0.1:0", tls = tls, pass = pass, tlscert = file("cert"))
    expect_identical(nextget("tls"), file("cert"))
    launch_local(1)
    expect_identical(value(mirai("in")), "in")
  }
  daemons(url = "tls+tcp://127.0.0.1:0", tls = file("both"), pass = "secret", tlscert = c(text("cert"), ""), token = TRUE)
  defer(daemons(0))
  expect_identical(pem(nextget("tls")[1L]), c("-----BEGIN CERTIFICATE-----", "-----BEGIN MIRAI TOKEN-----"))
  launch_local(1)
  expect_identical(value(mirai("in")), "in")
  expect_error(daemons(url = "tls+tcp://127.0.0.1:0", tls = file("both"), pass = "wrong"), "26 | Cryptographic error", fixed = TRUE)
  expect_error(daemons(url = "tls+tcp://127.0.0.1:0", tls = file("none")), "12 | Entry not found", fixed = TRUE)
  expect_error(daemons(url = "tcp://127.0.0.1:0", tls = file("both"), pass = "secret"), "9 | Not supported", fixed = TRUE)
  # The pool that was there is there.
  expect_identical(value(mirai("still in")), "still in")
})

test_that("a pool may have daemons of this machine and of the network, which serve one queue", {
  local_pool(url = c(local_url(), "tcp://127.0.0.1:0", "tcp://192.0.2.1:1"), token = TRUE)
  urls <- status()$daemons
  expect_match(urls[1L], "^tcp://127.0.0.1:[1-9]")
  expect_match(urls[2L], "^(abstract|ipc)://")
  expect_identical(nextget("url"), urls[1L])
  expect_match(launch_remote(), urls[1L], fixed = TRUE)
  launch_local(1)
  local <- value(mirai(Sys.getpid()))
  certificates <- tempfile()
  writeLines(nextget("tls")[1L], certificates)
  remote <- spawn(sprintf("mirai::daemon('%s', tlscert = '%s')", urls[1L], certificates))
  await(info()[["connections"]] == 2L)
  expect_setequal(everywhere(Sys.getpid())[.flat], c(local, remote$pid))
  first <- hold()
  second <- hold()
  first$started()
  second$started()
  first$open()
  second$open()
  expect_identical(list(value(first$m), value(second$m)), list("held", "held"))
  # The system tells of the first only.
  expect_identical(status()$workers$pid, c(local, NA))
  expect_match(status()$workers$address[2L], "^127.0.0.1:[0-9]+$")
  expect_identical(status()$workers$address[1L], "local")
  expect_identical(status()$workers$host, rep(Sys.info()[["nodename"]], 2L))
  daemons(0)
  await(!alive(local) && !alive(remote$pid))
})

test_that("a worker that calls daemon() until a host listens serves it, and learns of its end", {
  url <- paste0("tcp://127.0.0.1:", free_port())
  refused <- tempfile("refused")
  worker <- spawn(c(
    sprintf("url <- '%s'", url),
    "repeat {",
    "  joined <- tryCatch({",
    "    code <- mirai::daemon(url)",
    "    TRUE",
    "  }, error = function(e) {",
    sprintf("    cat(conditionMessage(e), '\\n', file = '%s')", refused),
    "    FALSE",
    "  })",
    "  if (joined) break",
    "  Sys.sleep(0.05)",
    "}",
    "cat('left with', mirai::nextcode(code), '\\n')"
  ))
  await(any(grepl("6 | Connection refused", if (file.exists(refused)) readLines(refused), fixed = TRUE)))
  old <- options(mirai.open = TRUE)
  defer(options(old))
  local_pool(url = sub("127.0.0.1", "0.0.0.0", url, fixed = TRUE))
  await(status()$connections == 1L)
  squares <- lapply(1:20, function(x) mirai(x^2, x = x))
  expect_identical(unlist(collect_mirai(squares)), (1:20)^2)
  expect_s3_class(mirai(stop("on purpose"), .timeout = 60000)[], "miraiError")
  expect_identical(mirai(Sys.getpid())[], worker$pid)
  daemons(0)
  expect_identical(worker$wait(), "left with 0 | Daemon connection terminated ")
})

test_that("of several addresses of one kind the first counts", {
  for (url in list(c("tcp://127.0.0.1:0", "tcp://192.0.2.1:1"), c(local_url(), "abstract://never"))) {
    local_pool(url = url)
    expect_length(status()$daemons, 1L)
    expect_match(status()$daemons, sub(":0$", "", url[1L]), fixed = TRUE)
  }
  expect_refused(daemons(url = c(local_url(), NA, "tcp://127.0.0.1:0")), "3 | Invalid argument: `url` must be addresses, not ", "daemons")
})

test_that("wrong arguments are errors in the user's terms", {
  expect_refused(daemons(url = local_url(), token = TRUE), "9 | Not supported", "daemons")
  expect_refused(daemons(url = "tcp://127.0.0.1:0", token = NA), "`token` must be", "daemons")
  expect_refused(daemons(url = "tls+tcp://127.0.0.1:0", tls = 1), "`tls` must be the path", "daemons")
  expect_refused(daemons(url = "tls+tcp://127.0.0.1:0", tls = "a", pass = 1), "`pass` must be", "daemons")
  expect_refused(daemon("tcp://127.0.0.1:1", tlscert = c("a", "b", "c")), "`tlscert` must be the path", "daemon")
  expect_refused(daemon("tcp://127.0.0.1:1", tlscert = tempfile()), "12 | Entry not found", "daemon")
})

test_that("a pool that strangers may reach and enter says so once, unless it is told not to", {
  open <- "daemons(url = 'tcp://:0')"
  out <- run_r(c("library(mirai)", open, open))
  expect_length(grep("whoever reaches", out), 1L)
  quiet <- c("daemons(url = 'tcp://127.0.0.1:0')", "daemons(url = 'tls+tcp://:0')", "daemons(url = 'tcp://:0', token = TRUE)",
             "options(mirai.open = TRUE)", open)
  expect_identical(run_r(c("library(mirai)", quiet, "cat('end\n')")), "end")
})

# ---- when the network breaks

# The daemons of three pools, one for each kind of lane, on that machine.
remote_pools <- function(machine, grace, frame = parent.frame()) {
  before <- options(mirai.grace = grace, mirai.silence = 3)
  defer(options(before), frame)
  # Over TCP the system notices, over the others question and answer do.
  schemes <- c("tcp", "ws", "tls+tcp")
  for (scheme in schemes) {
    local_pool(url = sprintf("%s://%s:0", scheme, machine$address), token = TRUE, .compute = scheme, frame = frame)
    certificates <- tempfile()
    writeLines(nextget("tls", scheme)[1L], certificates)
    spawn(sprintf("mirai::daemon('%s', tlscert = '%s')", nextget("url", scheme), certificates), within = machine$within, frame = frame)
  }
  schemes
}

workers_are <- function(scheme, state) identical(status(scheme)$workers$state, state)

test_that("a network that breaks for a while costs neither a daemon nor its task", {
  machine <- other_machine()
  schemes <- remote_pools(machine, grace = 600)
  held <- lapply(schemes, function(scheme) hold(.compute = scheme))
  for (task in held) task$started()
  machine$cut()
  for (scheme in schemes) await(workers_are(scheme, "away"))
  for (scheme in schemes) expect_identical(info(scheme)[["connections"]], 0L)
  waiting <- lapply(schemes, function(scheme) mirai("next", .compute = scheme))
  # One result is there before the network is.
  held[[1L]]$open()
  machine$mend()
  for (scheme in schemes) await(info(scheme)[["connections"]] == 1L)
  for (task in held) task$open()
  for (task in held) expect_identical(value(task$m), "held")
  for (m in waiting) expect_identical(value(m), "next")
  for (scheme in schemes) {
    expect_identical(unname(info(scheme)[1:2]), c(1L, 1L))
    expect_gte(status(scheme)$workers$returns, 1L)
  }
})

test_that("one that stays broken costs the daemon and its task, at once if there is no grace", {
  machine <- other_machine()
  schemes <- remote_pools(machine, grace = 0)
  held <- lapply(schemes, function(scheme) hold(.compute = scheme))
  for (task in held) task$started()
  machine$cut()
  for (task in held) expect_code(value(task$m), 19L)
  for (scheme in schemes) await(nrow(status(scheme)$workers) == 0L)
})

test_that("a silence that is longer than usual is borne by both sides, without any grace, too", {
  machine <- other_machine()
  before <- options(mirai.grace = 0, mirai.silence = 60)
  defer(options(before))
  local_pool(url = sprintf("tcp://%s:0", machine$address), token = TRUE)
  certificates <- tempfile()
  writeLines(nextget("tls")[1L], certificates)
  daemon <- spawn(sprintf("mirai::daemon('%s', tlscert = '%s')", nextget("url"), certificates), within = machine$within)
  expect_identical(value(mirai("there")), "there")
  machine$cut()
  # Longer than either side waits unless told otherwise.
  Sys.sleep(17)
  machine$mend()
  expect_identical(value(mirai("still there")), "still there")
  expect_true(alive(daemon$pid))
})

test_that("how long a silence and a daemon's absence may last are options, which are checked", {
  least <- c(mirai.grace = 0, mirai.silence = 3)
  for (name in names(least)) {
    for (wrong in list("a", least[[name]] - 1, NA, c(5, 6))) {
      before <- options(structure(list(wrong), names = name))
      expect_refused(daemons(url = "tcp://127.0.0.1:0"),
                     sprintf("the option `%s` must be a number of seconds, %d or more.", name, least[[name]]), "daemons")
      options(before)
    }
    before <- options(structure(list(Inf), names = name))
    expect_true(daemons(url = "tcp://127.0.0.1:0"))
    expect_false(daemons(0))
    options(before)
  }
})

test_that("neither a daemon in compiled code nor a host that was stopped is taken for gone", {
  skip_unless_linux()
  gate <- tempfile()
  host <- spawn(c(
    "library(mirai)",
    "daemons(url = 'ws://127.0.0.1:0')",
    "invisible(launch_local(1))",
    "pid <- mirai(Sys.getpid())[]",
    sprintf("m <- mirai({file.create('%s'); x <- runif(2e7); for (i in 1:5) y <- sort(x, method = 'quick'); Sys.getpid()})", gate),
    "cat('same', m[] == pid, mirai(Sys.getpid())[] == pid, '\\n')"
  ))
  await(file.exists(gate))
  # For longer than a silent peer has.
  tools::pskill(host$pid, tools::SIGSTOP)
  Sys.sleep(17)
  tools::pskill(host$pid, tools::SIGCONT)
  expect_identical(host$wait(120), "same TRUE TRUE ")
})

test_that("a daemon of this machine that is stopped is waited for", {
  skip_unless_linux()
  before <- options(mirai.grace = 1, mirai.silence = 3)
  defer(options(before))
  gate <- tempfile()
  for (scheme in c("tcp", "ws")) {
    local_pool(url = sprintf("%s://127.0.0.1:0", scheme), .compute = scheme)
    launch_local(1, .compute = scheme)
  }
  tasks <- lapply(c("tcp", "ws"), function(scheme) {
    pid <- value(mirai(Sys.getpid(), .compute = scheme))
    m <- mirai({
      while (!file.exists(gate)) Sys.sleep(0.01)
      Sys.getpid()
    }, gate = gate, .compute = scheme)
    await(status(scheme)$workers$state == "busy")
    tools::pskill(pid, tools::SIGSTOP)
    list(pid = pid, task = m)
  })
  # For longer than a silent one and its grace have.
  Sys.sleep(8)
  file.create(gate)
  for (stopped in tasks) tools::pskill(stopped$pid, tools::SIGCONT)
  for (stopped in tasks) expect_identical(value(stopped$task), stopped$pid)
})

test_that("a daemon that was launched here is known as such over a network, too", {
  local_pool(url = "tcp://127.0.0.1:0", token = TRUE)
  launch_local(1, maxtasks = 2)
  pid <- value(mirai(Sys.getpid()))
  expect_identical(status()$workers$pid, pid)
  expect_identical(value(mirai(Sys.getenv("MIRAI_LAUNCHER"))), "")
  await(!alive(pid))
  # The end of the first has been seen before that of the second.
  launch_local(1, maxtasks = 1)
  expect_silent(pid <- value(mirai(Sys.getpid())))
  await(!alive(pid))
  expect_identical(nrow(status()$failed), 0L)
})
