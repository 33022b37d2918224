# Commands for daemons on other machines, and running them. Here the other machine is this one.

skip_within_check()

# A command that writes the words it gets to a file, one a line, instead of starting anything.
recorder <- function(frame = parent.frame()) {
  record <- tempfile("words")
  script <- tempfile("recorder", fileext = ".sh")
  writeLines(c("#!/bin/sh", sprintf("for w; do printf '%%s\\n' \"$w\"; done >'%s.new'", record),
               sprintf("mv '%s.new' '%s'", record, record)), script)
  Sys.chmod(script, "755")
  defer(unlink(c(record, script)), frame)
  list(command = script, words = function() {
    await(file.exists(record))
    readLines(record)
  })
}

test_that("a configuration is a plain list of what it was made with", {
  expect_identical(
    remote_config(),
    list(command = NULL, args = c("", "."), rscript = "Rscript", quote = FALSE, tunnel = FALSE)
  )
  config <- remote_config("sh", list(c("-c", "."), "."), "/opt/R/bin/Rscript", TRUE)
  expect_identical(config$args, list(c("-c", "."), "."))
  expect_identical(config[c("command", "rscript", "quote")],
                   list(command = "sh", rscript = "/opt/R/bin/Rscript", quote = TRUE))
  wrong <- "`.` must be an element of the character vector(s) supplied to `args`"
  for (args in list("x", list(c("a", "."), "b"), list(), 1))
    expect_identical(tryCatch(remote_config(args = args), error = conditionMessage), wrong)
  expect_refused(remote_config(command = 1), "`command` must be a string", "remote_config")
  expect_refused(remote_config(rscript = NULL), "`rscript` must be a string", "remote_config")
  expect_refused(remote_config(quote = NA), "`quote` must be", "remote_config")
})

test_that("launch_remote() gives the commands, and prints them with their numbers", {
  local_pool(url = local_url(), cleanup = FALSE, idletime = 1e5)
  commands <- expect_visible(launch_remote(2))
  expect_s3_class(commands, "miraiLaunchCmd", exact = TRUE)
  command <- sprintf("Rscript -e 'mirai::daemon(\"%s\",cleanup=FALSE,idletime=1e+05)'", nextget("url"))
  expect_identical(as.character(unclass(commands)), rep(command, 2L))
  expect_identical(printed(commands), c("[1]", command, "", "[2]", command, ""))
  expect_identical(unclass(launch_remote(0)), character())
  expect_identical(printed(launch_remote(0)), character())
  expect_match(unclass(launch_remote(maxtasks = 3)), "cleanup=FALSE,idletime=1e+05,maxtasks=3)", fixed = TRUE)
  expect_match(unclass(launch_remote(remote = remote_config(rscript = "/a/Rscript"))), "^/a/Rscript -e ")
})

test_that("a command of a direct pool brings a stream of its own, or none with a seed", {
  set.seed(3)
  local_pool(url = local_url(), dispatcher = FALSE)
  first <- nextget("stream")
  commands <- unclass(launch_remote(2))
  expect_match(commands[1L], sprintf("dispatcher=FALSE,rs=c(%s))", paste(first, collapse = ",")), fixed = TRUE)
  expect_match(commands[2L], paste(parallel::nextRNGStream(first), collapse = ","), fixed = TRUE)
  daemons(url = local_url(), dispatcher = FALSE, seed = 1)
  expect_false(grepl("rs=", launch_remote()))
})

test_that("commands for elsewhere have an address of this machine where it listens at all", {
  own <- host_url()[[1L]]
  for (url in c("tcp://:0", "tcp://0.0.0.0:0", "tcp://[::]:0")) {
    pool <- tryCatch(local_pool(url = url), error = function(e) NULL)
    # Not every machine has IPv6.
    if (is.null(pool) && grepl("[", url, fixed = TRUE)) next
    expect_match(unclass(launch_remote(1)), sub("0$", "[0-9]+\"", own), label = url)
  }
})

test_that("the command that is returned makes a daemon when a shell runs it", {
  local_pool(url = local_url())
  remote <- remote_config(rscript = rscript)
  system2("env", c(child_env(), launch_remote(1, remote, maxtasks = 1)), wait = FALSE)
  expect_identical(value(mirai("from afar")), "from afar")
})

test_that("a configuration with a command runs it for each daemon", {
  local_pool(url = local_url())
  remote <- remote_config("env", c(child_env(), "."), rscript)
  commands <- launch_remote(2, remote, maxtasks = 1)
  expect_length(commands, 2L)
  expect_identical(sort(c(value(mirai("a")), value(mirai("b")))), c("a", "b"))
})

test_that("commands that last as long as their daemons do not hold up others", {
  local_pool(url = local_url())
  folder <- tempfile("running")
  dir.create(folder)
  defer(unlink(folder, recursive = TRUE))
  script <- file.path(folder, "start")
  writeLines(c("#!/bin/sh", sprintf("cd '%s'", folder), "touch lasts-$$", "while test -e start; do sleep 0.1; done"), script)
  Sys.chmod(script, "755")
  launch_remote(40, remote_config(script, "."))
  expect_true(await(length(list.files(folder, "^lasts-")) == 40L))
})

test_that("the daemon's command travels as words, or quoted as one", {
  local_pool(url = local_url())
  call <- sprintf("mirai::daemon(\"%s\")", nextget("url"))
  plain <- recorder()
  launch_remote(1, remote_config(plain$command, c("--x 1", ".")))
  expect_identical(plain$words(), c("--x", "1", "Rscript", "-e", call))
  quoted <- recorder()
  launch_remote(1, remote_config(quoted$command, c("--x 1", "."), quote = TRUE))
  expect_identical(quoted$words(), c("--x", "1", sprintf("Rscript -e '%s'", call)))
})

test_that("one daemon starts on each of several machines, or `n` must be their number", {
  local_pool(url = local_url())
  two <- remote_config(args = list(c("a", "."), c("b", ".")))
  expect_length(launch_remote(remote = two), 2L)
  expect_length(launch_remote(2, two), 2L)
  expect_length(launch_remote(0, two), 0L)
  expect_refused(launch_remote(3, two), "`n` must equal the length of `args`, or either must be 1", "launch_remote")
  expect_length(launch_remote(3, remote_config(args = list("."))), 3L)
})

test_that("what cannot be launched is an error", {
  expect_refused(launch_remote(), "daemons must be set to use this function", "launch_remote")
  local_pool(url = local_url())
  expect_refused(launch_remote("a"), "`n`", "launch_remote")
  expect_refused(launch_remote(1, remote = "ssh"), "`remote` must be a configuration", "launch_remote")
  # Of a configuration that was edited, as remote_config() says it.
  edited <- function(...) utils::modifyList(remote_config("env", "."), list(...), keep.null = TRUE)
  expect_refused(launch_remote(1, edited(command = c("a", "b"))), "`command` must be a string", "launch_remote")
  for (rscript in list(NULL, NA_character_, 1)) expect_refused(launch_remote(1, edited(rscript = rscript)), "`rscript` must be a string", "launch_remote")
  for (args in list(NULL, 1, "a", list("a"))) expect_refused(launch_remote(1, edited(args = args)), "`.` must be an element", "launch_remote")
  expect_refused(launch_remote(1, edited(quote = "yes")), "`quote` must be", "launch_remote")
  expect_refused(launch_remote(1, edited(tunnel = NA)), "`tunnel` must be", "launch_remote")
  expect_refused(daemons(1, url = local_url(), remote = edited(rscript = c("a", "b"))), "`rscript` must be a string", "daemons")
  nowhere <- remote_config("no-such-command-here")
  expect_refused(launch_remote(1, nowhere), "`no-such-command-here`", "launch_remote")
  daemons(sync = TRUE)
  expect_refused(launch_remote(), "synchronous", "launch_remote")
})

test_that("daemons() listens and launches what `remote` has", {
  remote <- remote_config("env", c(child_env(), "."), rscript)
  local_pool(2, url = local_url(), remote = remote)
  await(info()[["connections"]] == 2L)
  expect_identical(nextget("n"), 2L)
  daemons(url = local_url(), remote = remote)
  expect_identical(value(mirai(1)), 1)
  expect_identical(nextget("n"), 1L)
})

test_that("daemons() leaves no pool where the launch is refused, and says where `remote` has no use", {
  expect_refused(daemons(1, url = local_url(), remote = remote_config("no-such-command-here")), "not found", "daemons")
  expect_false(daemons_set())
  expect_warning(local_pool(1, remote = remote_config()), "`remote` needs `url`")
})

test_that("a cluster has a node for each daemon that is launched", {
  remote <- remote_config("env", c(child_env(), "."), rscript)
  cl <- make_cluster(2, url = local_url(), remote = remote)
  defer(stop_cluster(cl))
  expect_length(cl, 2L)
  await(status(cl)$connections == 2L)
  expect_identical(parallel::parLapply(cl, 1:2, function(x) x + 1), list(2, 3))
  expect_length(launch_remote(cl), 2L)
  expect_match(launch_remote(cl[[1L]]), "dispatcher=FALSE,cleanup=FALSE,rs=c(", fixed = TRUE)
  stop_cluster(cl)
  expect_refused(launch_remote(cl), "daemons must be set to use this function", "launch_remote")
})

test_that("library paths that are relative to another folder are made absolute for the command", {
  skip_unless_linux()
  folder <- tempfile("started")
  dir.create(folder)
  file.symlink(dirname(find.package("mirai")), file.path(folder, "library"))
  others <- setdiff(normalizePath(.libPaths()), normalizePath(dirname(find.package("mirai"))))
  out <- run_r(within = c("env", "-C", shQuote(folder)), libs = "R_LIBS=library", c(
    sprintf(".libPaths(c(.libPaths(), %s))", paste(deparse(others), collapse = "")),
    "setwd(tempdir())",
    "library(mirai)",
    "daemons(url = local_url())",
    sprintf("commands <- launch_remote(1, remote_config('env', c('A=1', '.'), '%s'), maxtasks = 1)", rscript),
    "cat('here', mirai(basename(.libPaths()[1L]))[], Sys.getenv('R_LIBS'), '\\n')"
  ))
  expect_match(out, "^here .* library $", all = FALSE)
})

test_that("commands that have brought no daemon end with their pool, and with the session", {
  skip_unless_linux()
  note <- tempfile("pids")
  stuck <- sprintf("echo $$ >>'%s'; sleep 600 & echo $! >>'%s'; wait", note, note)
  pids <- function() as.integer(readLines(note))
  remote <- remote_config("sh", c("-c", shQuote(stuck), "."))
  local_pool(url = local_url())
  launch_remote(2, remote)
  await(file.exists(note) && length(pids()) == 4L)
  defer(for (pid in pids()) tools::pskill(pid, tools::SIGKILL))
  daemons(0)
  expect_false(any(vapply(pids(), alive, NA)))

  # One that does not care is killed.
  unlink(note)
  local_pool(url = local_url())
  launch_remote(1, remote_config("sh", c("-c", shQuote(paste("trap '' TERM;", stuck)), ".")))
  await(file.exists(note) && length(pids()) == 2L)
  daemons(0)
  expect_true(await(!any(vapply(pids(), alive, NA))))

  unlink(note)
  host <- spawn(c(
    "library(mirai)",
    "daemons(url = local_url())",
    sprintf("launch_remote(1, remote_config('sh', c('-c', %s, '.')))", deparse(shQuote(stuck))),
    sprintf("while (!file.exists('%s') || length(readLines('%s')) < 2L) Sys.sleep(0.01)", note, note)
  ))
  host$wait()
  expect_true(await(!any(vapply(pids(), alive, NA))))
})

test_that("commands end with the daemons that they have brought, and not before", {
  skip_unless_linux()
  note <- tempfile("note")
  after <- sprintf("%s && echo after >'%s'", paste(child_env(), "\"$@\""), note)
  local_pool(url = local_url())
  launch_remote(1, remote_config("sh", c("-c", shQuote(after), "sh", "."), rscript))
  await(info()[["connections"]] == 1L)
  daemons(0)
  expect_true(await(file.exists(note)))

  # With another one that is stuck, a daemon may still end its task.
  local_pool(url = local_url(), autoexit = NA)
  launch_remote(1, remote_config("sh", c("-c", shQuote(after), "sh", "."), rscript))
  unlink(note)
  done <- tempfile("done")
  held <- mirai({ file.create(done); Sys.sleep(1); file.create(paste0(done, 2)) }, done = done)
  await(file.exists(done))
  launch_remote(1, remote_config("sh", c("-c", shQuote("sleep 20"), ".")))
  daemons(0)
  expect_true(await(file.exists(paste0(done, 2)) && file.exists(note)))
})

test_that("daemons that come to a pool that is closed leave", {
  local_pool(url = local_url(tcp = TRUE))
  command <- launch_remote(1, remote_config(rscript = rscript))
  daemons(0)
  out <- suppressWarnings(system2("env", c(child_env(), command), stdout = TRUE, stderr = TRUE))
  expect_identical(attr(out, "status"), 1L)
  expect_match(out, "6 | Connection refused", fixed = TRUE, all = FALSE)
})
