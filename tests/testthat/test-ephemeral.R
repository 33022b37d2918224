test_that("without daemons each mirai has a process of its own", {
  expect_false(daemons_set())
  a <- mirai(Sys.getpid())
  b <- mirai(Sys.getpid())
  expect_false(value(a) == value(b))
  expect_false(Sys.getpid() %in% c(a[], b[]))
  await(!alive(a[]) && !alive(b[]))
  expect_null(info())
})

test_that("it does all that a mirai does", {
  expect_identical(value(mirai(x + y, x = 1, .args = list(y = 2))), 3)
  e <- value(mirai({
    f <- function() stop("no")
    f()
  }))
  expect_identical(as.vector(e), "Error in f(): no")
  ms <- lapply(1:4, function(i) mirai(i, .args = list(i = i)))
  expect_identical(collect_mirai(ms), as.list(1:4))
})

test_that("stopping is FALSE and resolves to 20", {
  m <- mirai(Sys.sleep(0.2))
  expect_false(stop_mirai(m))
  expect_code(m$data, 20L)
})

test_that("what is stopped or timed out runs on", {
  started <- tempfile(c("stopped", "timed"))
  gate <- tempfile()
  file <- tempfile(c("stopped", "timed"))
  task <- quote({
    file.create(started)
    while (!file.exists(gate)) Sys.sleep(0.005)
    file.create(file)
  })
  stopped <- mirai(task, .args = list(started = started[1L], gate = gate, file = file[1L]))
  timed <- mirai(task, .args = list(started = started[2L], gate = gate, file = file[2L]), .timeout = 50)
  expect_code(value(timed), 5L)
  await(all(file.exists(started)))
  expect_false(stop_mirai(stopped))
  expect_code(stopped$data, 20L)
  file.create(gate)
  expect_true(await(all(file.exists(file))))
})

test_that("its process goes with the host", {
  skip_unless_linux()
  note <- tempfile()
  child <- spawn(c(
    "library(mirai)",
    sprintf("m <- mirai({writeLines(as.character(Sys.getpid()), '%s.new'); file.rename('%s.new', '%s'); Sys.sleep(600)})", note, note, note),
    "m[]"
  ))
  await(file.exists(note))
  pid <- as.integer(readLines(note))
  expect_true(alive(pid))
  tools::pskill(child$pid, tools::SIGKILL)
  expect_true(await(!alive(pid)))
})

test_that("a mirai that nobody holds is finished all the same", {
  file <- tempfile()
  mirai(file.create(file), .args = list(file = file))
  for (i in 1:3) gc()
  expect_true(await(file.exists(file)))
})

test_that("an unknown profile is warned about when it is named", {
  expect_no_warning(mirai(1)[])
  expect_warning(m <- mirai(1, .compute = "typo"), "typo")
  expect_identical(value(m), 1)
})

test_that("the host's library paths are passed on", {
  lib <- tempfile("lib")
  dir.create(lib)
  paths <- .libPaths()
  defer(.libPaths(paths))
  .libPaths(c(lib, paths))
  expect_identical(value(mirai(.libPaths())), .libPaths())
})

test_that("a process that dies is told from one that ends", {
  expect_code(value(mirai(quit("no"))), 19L)
  expect_code(value(mirai(tools::pskill(Sys.getpid(), tools::SIGKILL))), 19L)
})

test_that("a process that cannot start resolves to an error", {
  profile <- tempfile()
  writeLines("stop('bad start')", profile)
  old <- Sys.getenv("R_PROFILE_USER", NA)
  Sys.setenv(R_PROFILE_USER = profile)
  defer(if (is.na(old)) Sys.unsetenv("R_PROFILE_USER") else Sys.setenv(R_PROFILE_USER = old))
  expect_warning(expect_code(value(mirai(1)), 19L), "no daemon could be started for a task.*bad start")
})

# What the processes of a script have written, read until the last one that has this output is gone, daemons included.
said_by <- function(code, within = character()) {
  script <- tempfile(fileext = ".R")
  writeLines(code, script)
  command <- c(within, rscript, shQuote(script))
  as.character(suppressWarnings(system2(command[1L], command[-1L], stdout = TRUE, stderr = TRUE, env = child_env())))
}

# The first value is there once a fork server is.
test_that("a daemon whose host has ended before it came says nothing", {
  skip_unless_linux()
  expect_identical(said_by("library(mirai); invisible(mirai(1)[]); for (i in 1:20) mirai(1)"), character())
})

test_that("daemons of an interrupted daemons() say nothing", {
  skip_unless_linux()
  # The interrupt comes as soon as they have been launched.
  interrupted <- "tryCatch(daemons(20), interrupt = function(e) cat('interrupted\\n'))"
  code <- c(
    "library(mirai); invisible(mirai(1)[])",
    "space <- asNamespace('mirai'); unlockBinding('wait_for_daemons', space)",
    "space$wait_for_daemons <- function(...) {tools::pskill(Sys.getpid(), tools::SIGINT); Sys.sleep(60)}",
    rep(interrupted, 5)
  )
  expect_identical(said_by(code), rep("interrupted", 5))
})

test_that("so it is where Rscript starts the daemons", {
  within <- without_proc()
  expect_identical(said_by("library(mirai); for (i in 1:5) mirai(1)", within), character())
  profile <- tempfile()
  # The first daemon interrupts its host, in whose environment this process is named.
  writeLines(sprintf(
    "if (!nzchar(Sys.getenv('HOST'))) Sys.setenv(HOST = Sys.getpid()) else
       if (dir.create('%s', FALSE)) tools::pskill(as.integer(Sys.getenv('HOST')), tools::SIGINT)", tempfile("once")), profile)
  code <- "library(mirai); tryCatch(daemons(20), interrupt = function(e) cat('interrupted\\n'))"
  expect_identical(said_by(code, c(within, "env", paste0("R_PROFILE_USER=", profile))), "interrupted")
})

test_that("a daemon that was typed by hand says why it cannot start", {
  skip_unless_linux()
  said <- said_by(sprintf("mirai::daemon('%s')", local_url()))
  expect_match(said, "6 | Connection refused", fixed = TRUE, all = FALSE)
})

test_that("a profile that is named and has no daemons is told of once, unless a package names it", {
  warned <- function(expr) {
    said <- character()
    withCallingHandlers(expr, warning = function(w) {
      said <<- c(said, conditionMessage(w))
      invokeRestart("muffleWarning")
    })
    said
  }
  first <- sprintf("unset-%d", 1:2)
  said <- warned(mirai(1, .compute = first[1L]))
  expect_match(said, sprintf("no daemons set for the '%s' compute profile", first[1L]), fixed = TRUE)
  expect_identical(warned(mirai(1, .compute = first[1L])), character())
  expect_length(warned(try_mirai(1, .compute = first[2L])), 1L)
  expect_identical(warned(mirai(1)), character())
  # As a function of a package calls it, by whatever way.
  within <- function(code) eval(code, new.env(parent = asNamespace("stats")))
  expect_identical(warned(within(quote(mirai::mirai(1, .compute = "unset-3")))), character())
  expect_identical(warned(within(quote(do.call(mirai::mirai, list(1, .compute = "unset-3"))))), character())
  expect_length(warned(do.call(mirai, list(1, .compute = "unset-3"))), 1L)
})
