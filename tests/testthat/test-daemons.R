test_that("daemons(n) starts n processes and returns when they are connected", {
  expect_invisible(d <- local_pool(3))
  expect_s3_class(d, c("miraiDaemons", "default"), exact = TRUE)
  expect_true(isTRUE(as.logical(d)))
  expect_true(isTRUE(d))
  expect_false(identical(d, TRUE))
  expect_identical(printed(d), "[1] TRUE")
  expect_identical(info()[["connections"]], 3L)
  expect_true(daemons_set())
  expect_length(unique(everywhere(Sys.getpid())[.flat]), 3L)
})

test_that("the class of the result names the profile", {
  expect_s3_class(local_pool(1, .compute = "named"), c("miraiDaemons", "named"), exact = TRUE)
  expect_s3_class(local_pool(url = local_url()), c("miraiDaemons", "default"), exact = TRUE)
  expect_s3_class(local_pool(sync = TRUE), c("miraiDaemons", "default"), exact = TRUE)
  expect_invisible(daemons(sync = TRUE))
  expect_invisible(daemons(url = local_url()))
})

test_that("a reset returns FALSE, and there is nothing left", {
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  expect_identical(daemons(0), FALSE)
  expect_invisible(daemons(0))
  expect_identical(daemons(NULL), FALSE)
  expect_invisible(daemons(NULL))
  expect_identical(daemons(0, .compute = "never set"), FALSE)
  expect_false(daemons_set())
  expect_null(info())
  expect_null(nextget("url"))
  await(!alive(pid))
})

test_that("wrong arguments are errors of the user's call", {
  numeric <- "`n` must be numeric, did you mean to provide `url`?"
  expect_error(daemons(), "argument \"n\" is missing, with no default", fixed = TRUE)
  for (bad in list(TRUE, "4", list(1))) expect_refused(daemons(bad), numeric, "daemons")
  expect_refused(daemons(-1), "the number of daemons must be zero or greater", "daemons")
  expect_refused(daemons(url = 5), "`url` must be of type character, not double", "daemons")
  expect_refused(daemons(url = 5L), "`url` must be of type character, not integer", "daemons")
  expect_refused(daemons(url = "nonsense"), "3 | Invalid argument", "daemons")
  expect_refused(daemons(1, dispatcher = "yes"), "`dispatcher` must be `TRUE` or `FALSE`", "daemons")
  for (bad in list(NULL, NA, NA_real_, 1:2, c(TRUE, FALSE)))
    expect_refused(daemons(1, dispatcher = bad), "`dispatcher` must be `TRUE` or `FALSE`", "daemons")
  for (bad in list("a", NA, Inf, 1e10, numeric(), list(1))) expect_refused(daemons(1, seed = bad), "`seed` must be", "daemons")
  for (bad in list("5", TRUE, c(1, 2), numeric())) expect_refused(daemons(1, memory = bad), "`memory` must be", "daemons")
  for (bad in list(character(), NA_character_, "")) expect_refused(daemons(url = bad), "3 | Invalid argument", "daemons")
  expect_refused(daemons(1, .compute = 5), "`.compute` must be a string", "daemons")
  expect_refused(daemons(1, .compute = c("a", "b")), "`.compute` must be a string", "daemons")
  expect_refused(daemons(1, .compute = strrep("a", 10001)), "`.compute` must be a string of at most 10,000 bytes.", "daemons")
  expect_false(daemons_set())
})

test_that("arguments for a network are checked", {
  expect_refused(daemons(url = local_url(), remote = list()), "`remote` must be a configuration", "daemons")
  expect_refused(daemons(url = local_url(), tls = "x"), "12 | Entry not found: the file `x`", "daemons")
  local_pool(url = local_url())
  expect_warning(daemons(url = local_url(), pass = "x"), "`pass` needs `tls`", fixed = TRUE)
})

test_that("a call that fails leaves the pool in place", {
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  expect_error(daemons(2, seed = "a"))
  expect_error(daemons(2, memory = "a"))
  expect_error(daemons("2"))
  expect_error(daemons(url = "nonsense"))
  expect_error(daemons(url = 5))
  expect_error(daemons(-1))
  expect_error(daemons(2, dispatcher = NA))
  expect_error(daemons(2, .compute = 5))
  expect_error(daemons(sync = NA))
  expect_error(daemons(sync = TRUE, seed = "a"))
  expect_error(daemons(2, serial = 1))
  expect_identical(mirai(Sys.getpid())[], pid)
})

test_that("a new call replaces the pool", {
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  pending <- hold()$m
  daemons(2)
  expect_code(pending[], 19L)
  expect_identical(info()[["connections"]], 2L)
  await(!alive(pid))
})

test_that("arguments for daemons are passed on, unusable ones are warned about", {
  local_pool(1, cleanup = FALSE)
  mirai(left <<- 1)[]
  expect_identical(mirai(left)[], 1)
  expect_warning(daemons(1, nonsense = 5), "`nonsense`")
  expect_warning(daemons(1, cleanup = "no"), "`cleanup`")
})

test_that("a reset resolves what is pending to 19 and kills a busy daemon", {
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  held <- hold()
  held$started()
  queued <- mirai(1)
  done <- mirai(2, .compute = NULL)
  daemons(0)
  expect_code(held$m$data, 19L)
  expect_code(queued$data, 19L)
  expect_identical(printed(queued$data), "'errorValue' int 19 | Connection reset")
  await(!alive(pid))
})

test_that("a reset resolves what is pending to 19 without dispatcher and without any daemon too", {
  local_pool(1, dispatcher = FALSE)
  held <- hold()
  held$started()
  pending <- list(held$m, mirai(1))
  daemons(url = local_url())
  pending <- c(pending, list(mirai(2)))
  daemons(url = local_url(), dispatcher = FALSE)
  pending <- c(pending, list(mirai(3)))
  daemons(0)
  for (m in pending) expect_code(m$data, 19L)
})

test_that("a reset of one profile leaves the others, and mirai without daemons, alone", {
  local_pool(1)
  local_pool(1, .compute = "other")
  held <- hold()
  own <- suppressWarnings(hold("none"))
  for (h in list(held, own)) h$started()
  daemons(0, .compute = "other")
  expect_true(unresolved(held$m))
  daemons(0, .compute = "none")
  expect_true(unresolved(own$m))
  for (h in list(held, own)) h$open()
  expect_identical(value(held$m), "held")
  expect_identical(value(own$m), "held")
})

test_that("resolved mirai keep their values through a reset", {
  local_pool(1)
  read <- mirai(1)
  read[]
  unread <- mirai(2)
  call_mirai(unread)
  daemons(0)
  expect_identical(read[], 1)
  expect_identical(unread[], 2)
})

test_that("pools by url take daemons that come and go", {
  url <- local_url()
  local_pool(url = url)
  expect_identical(status()$daemons, url)
  expect_identical(nextget("url"), url)
  expect_identical(info()[["connections"]], 0L)
  m <- mirai("waited")
  expect_true(unresolved(m))
  expect_identical(launch_local(2), 2L)
  expect_identical(value(m), "waited")
  await(info()[["connections"]] == 2L)
})

test_that("the second argument is url, the first element of it", {
  url <- local_url()
  local_pool(0, c(url, "ignored"))
  expect_identical(nextget("url"), url)
})

test_that("with url, n is ignored and nothing is launched", {
  url <- local_url()
  local_pool("no number", url)
  expect_identical(info()[["connections"]], 0L)
  # The first to come is the one started here, so no other was.
  launch_local(1)
  pid <- value(mirai(Sys.getpid()))
  expect_identical(info()[["cumulative"]], 1L)
  expect_identical(unlist(everywhere(Sys.getpid())[]), pid)
})

test_that("tasks wait for a daemon without dispatcher too", {
  local_pool(url = local_url(), dispatcher = FALSE)
  ms <- lapply(1:3, function(i) mirai(i, .args = list(i = i)))
  expect_true(all(vapply(ms, unresolved, NA)))
  launch_local(1)
  expect_identical(lapply(ms, value), list(1L, 2L, 3L))
})

test_that("arguments in the way of crew are taken", {
  url <- local_url()
  local_pool(url = url, dispatcher = TRUE, seed = NULL, serial = NULL, tls = NULL, pass = NULL, .compute = "crew")
  expect_identical(nextget("url", .compute = "crew"), url)
  expect_identical(daemons(n = 0L, .compute = "crew"), FALSE)
  expect_null(nextget("url", .compute = "crew"))
})

test_that("one address can be listened at again after a reset", {
  url <- local_url()
  local_pool(url = url)
  daemons(url = url)
  launch_local(1)
  expect_identical(value(mirai(1)), 1)
})

test_that("an address in use is an error", {
  url <- local_url()
  local_pool(url = url)
  e <- tryCatch(daemons(url = url, .compute = "second"), error = identity)
  expect_match(conditionMessage(e), "10 | Address in use", fixed = TRUE)
  expect_false(daemons_set("second"))
})

test_that("a slow task delays nothing else, with dispatcher", {
  local_pool(2)
  held <- hold()
  held$started()
  expect_identical(collect_mirai(lapply(1:6, function(i) mirai(i, .args = list(i = i)))), as.list(1:6))
  expect_true(unresolved(held$m))
  held$open()
  expect_identical(held$m[], "held")
})

test_that("tasks are dealt in turn without dispatcher", {
  local_pool(2, dispatcher = FALSE)
  pids <- unlist(collect_mirai(lapply(1:6, function(i) mirai(Sys.getpid()))))
  expect_length(unique(pids), 2L)
  expect_identical(pids[c(1, 3, 5)], rep(pids[1], 3L))
  expect_identical(pids[c(2, 4, 6)], rep(pids[2], 3L))
})

test_that("without dispatcher tasks wait at their daemon", {
  local_pool(2, dispatcher = FALSE)
  held <- hold()
  held$started()
  ms <- lapply(1:4, function(i) mirai(i, .args = list(i = i)))
  expect_identical(ms[[1]][], 1L)
  expect_identical(ms[[3]][], 3L)
  expect_true(unresolved(ms[[2]]))
  held$open()
  expect_identical(collect_mirai(ms), as.list(1:4))
})

test_that("memory is not for pools without dispatcher, and says so", {
  expect_warning(local_pool(1, dispatcher = FALSE, memory = 5), "memory")
})

test_that("daemons inherit the working directory, the environment and the library paths", {
  folder <- tempfile("folder")
  dir.create(folder)
  lib <- tempfile("lib")
  dir.create(lib)
  old <- setwd(folder)
  paths <- .libPaths()
  Sys.setenv(MIRAI_TEST_VARIABLE = "here")
  .libPaths(c(lib, paths))
  defer({
    setwd(old)
    Sys.unsetenv("MIRAI_TEST_VARIABLE")
    .libPaths(paths)
  })
  local_pool(1)
  there <- mirai(list(getwd(), Sys.getenv("MIRAI_TEST_VARIABLE"), .libPaths()))[]
  expect_identical(there, list(normalizePath(folder), "here", .libPaths()))
})

test_that("daemons read start-up files, and heed the variable for default packages", {
  folder <- tempfile("start")
  dir.create(folder)
  writeLines("options(mirai.test.profile = 'read')", file.path(folder, ".Rprofile"))
  writeLines("MIRAI_TEST_ENVIRON=read", file.path(folder, ".Renviron"))
  old <- setwd(folder)
  names <- c("R_SCRIPT_DEFAULT_PACKAGES", "R_PROFILE_USER", "R_ENVIRON_USER")
  before <- Sys.getenv(names, NA)
  Sys.unsetenv(names)
  defer({
    setwd(old)
    Sys.unsetenv(names)
    if (!all(is.na(before))) do.call(Sys.setenv, as.list(before[!is.na(before)]))
  })
  there <- quote(list(getOption("mirai.test.profile"), Sys.getenv("MIRAI_TEST_ENVIRON"), "package:stats" %in% search()))
  local_pool(1)
  expect_identical(mirai(there)[], list("read", "read", TRUE))
  Sys.setenv(R_SCRIPT_DEFAULT_PACKAGES = "NULL")
  daemons(1)
  expect_identical(mirai(there)[], list("read", "read", FALSE))
  expect_identical(mirai(search())[], c(".GlobalEnv", "Autoloads", "package:base"))
})

test_that("each daemon has a temporary folder of its own, gone with it", {
  local_pool(2)
  dirs <- everywhere(tempdir())[.flat]
  expect_length(unique(dirs), 2L)
  expect_false(tempdir() %in% dirs)
  expect_true(all(dir.exists(dirs)))
  daemons(0)
  await(!any(dir.exists(dirs)))
})

test_that("a busy daemon takes its temporary folder with it", {
  local_pool(1)
  dir <- mirai(tempdir())[]
  held <- hold()
  held$started()
  daemons(0)
  expect_true(await(!dir.exists(dir)))
})

test_that("command lines of daemons show what they are", {
  skip_unless_linux()
  local_pool(2)
  pids <- everywhere(Sys.getpid())[.flat]
  expect_setequal(daemon_pids(), pids)
})

test_that("command lines carry a stream without dispatcher only", {
  skip_unless_linux()
  streams <- function() {
    lines <- vapply(daemon_pids(), function(pid) rawToChar(Filter(as.logical, readBin(sprintf("/proc/%d/cmdline", pid), "raw", 4096L))), "")
    regmatches(lines, regexpr("rs=c\\([-0-9, ]*\\)", lines))
  }
  local_pool(2)
  expect_identical(streams(), character())
  daemons(2, dispatcher = FALSE)
  expect_length(unique(streams()), 2L)
})

test_that("daemons are not interactive", {
  local_pool(1)
  expect_false(mirai(interactive())[])
})

# Start-up files that ask for daemons. A sixth process that reads them ends at once.
greedy_profile <- function(frame = parent.frame()) {
  folder <- tempfile("greedy")
  dir.create(folder)
  log <- file.path(folder, "log")
  profile <- file.path(folder, "profile.R")
  writeLines(c(
    sprintf("log <- '%s'", log),
    "cat('read\n', file = log, append = TRUE)",
    "if (sum(readLines(log) == 'read') > 5) quit('no')",
    "library(mirai)",
    "daemons(1)",
    "daemons(2, .compute = 'other')",
    "refused <- function(expr) if (inherits(try(expr, silent = TRUE), 'try-error')) cat('refused\n', file = log, append = TRUE)",
    "refused(mirai(1))",
    "refused(mirai(1, .compute = 'other'))",
    "refused(make_cluster(1))"
  ), profile)
  list(log = function() readLines(log), env = child_env(sprintf("R_PROFILE_USER=%s", profile)))
}

test_that("start-up files that call daemons() don't make daemons of daemons", {
  greedy <- greedy_profile()
  # For the script, the file holds as it stands; for its daemons daemons() in it does nothing.
  out <- run_r("invisible(lapply(1:2, function(i) cat(mirai(Sys.getpid() == host, host = Sys.getpid())[], daemons_set('other'), '\\n')))",
               libs = greedy$env)
  expect_identical(grep("TRUE|FALSE", out, value = TRUE), rep("FALSE TRUE ", 2L))
  log <- greedy$log()
  # One fork server for all; or else there are as many processes as daemons.
  expect_lte(sum(log == "read"), 5L)
  expect_identical(sum(log == "refused"), 3L * (sum(log == "read") - 1L))
})

test_that("a daemon that is called on the command line says once that daemons() does nothing in start-up files", {
  skip_on_os("windows")
  greedy <- greedy_profile()
  url <- local_url()
  local_pool(url = url)
  log <- tempfile("log")
  system2(rscript, c("-e", shQuote(sprintf("mirai::daemon('%s', maxtasks = 1)", url))), stdout = log, stderr = log,
          wait = FALSE, env = greedy$env)
  expect_identical(value(mirai(mirai::daemons_set())), FALSE)
  await(info()[["connections"]] == 0L)
  expect_length(grep("daemons() does nothing here", readLines(log), fixed = TRUE), 1L)
  expect_identical(greedy$log(), c("read", rep("refused", 3L)))
})

test_that("nobody can take a daemon's temporary folder, nor put one in its place", {
  skip_unless_linux()
  daemon_folder <- function() value(mirai({
    info <- file.info(tempdir())
    list(path = tempdir(), mine = info$uname == Sys.info()[["effective_user"]], mode = format(info$mode))
  }))
  # A folder like /tmp that no other session has to do with.
  shared <- tempfile("shared", dirname(tempdir()))
  dir.create(shared)
  Sys.chmod(shared, "1777", use_umask = FALSE)
  defer(unlink(shared, recursive = TRUE))
  old <- Sys.getenv("TMPDIR", NA)
  Sys.setenv(TMPDIR = shared)
  defer(if (is.na(old)) Sys.unsetenv("TMPDIR") else Sys.setenv(TMPDIR = old))
  local_pool(1)
  # The name that R in the fork server and, up to its own start, in a child has: a file holds it.
  first <- daemon_folder()
  expect_identical(dirname(first$path), shared)
  expect_true(first$mine)
  expect_identical(first$mode, "700")
  beside <- list.files(dirname(first$path), "^Rtmp", full.names = TRUE)
  held <- beside[file.exists(beside) & !dir.exists(beside)]
  expect_gte(length(held), 1L)
  expect_false(first$path %in% held)
  skip_if_not(identical(Sys.info()[["effective_user"]], "root") && nzchar(Sys.which("setpriv")),
              "only root can act as a stranger")
  stranger <- function(...) suppressWarnings(system2("setpriv", c("--reuid=65534", "--regid=65534", "--clear-groups", ...),
                                                     stdout = FALSE, stderr = FALSE))
  for (name in held) {
    stranger("rm", "-f", shQuote(name))
    stranger("mkdir", "-m", "777", shQuote(name))
  }
  expect_true(all(file.exists(held) & !dir.exists(held)))
  launch_local(1)
  await(info()[["connections"]] == 2L)
  expect_false(any(unlist(everywhere(tempdir())[]) %in% held))
})

test_that("one number is a flag, and what packages pass for earlier versions is not remarked on", {
  expect_silent(local_pool(1, dispatcher = 1L, cleanup = 0L, output = 0, asyncdial = 0, autoexit = 15L, timerstart = 1L))
  kept <- value(mirai(assign("kept", 1, envir = globalenv())))
  expect_identical(value(mirai(exists("kept", envir = globalenv()))), TRUE)
  expect_length(status()$mirai, 3L)
  local_pool(url = local_url(), dispatcher = TRUE)
  call <- sprintf("mirai::daemon('%s', dispatcher = 1L, asyncdial = 0L, autoexit = 15L, cleanup = 0L, output = 1L, timerstart = 0L, rs = %s)",
                  nextget("url"), paste(deparse(nextstream()), collapse = ""))
  spawn(call)
  expect_identical(value(mirai("from there")), "from there")
})
