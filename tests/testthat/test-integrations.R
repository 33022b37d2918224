# Packages that build on mirai, or live beside it. What is missing here, or too old, is skipped.

# ---- purrr

# purrr packs its functions with carrier. Where that is not installed, this does what purrr asks of it.
stand_in <- c(
  'crate <- function(.fn, ..., .parent_env = baseenv(), .error_arg = ".fn", .error_call = NULL) {',
  '  data <- list2env(list(...), parent = .parent_env)',
  '  fn <- eval(substitute(.fn), data)',
  '  if (!is.function(fn)) stop("`", .error_arg, "` must be a function")',
  '  structure(fn, srcref = NULL, class = "crate")',
  '}'
)

local_carrier <- function(frame = parent.frame()) {
  if (requireNamespace("carrier", quietly = TRUE)) return(invisible())
  library <- tempfile("library")
  source <- file.path(tempfile("source"), "carrier")
  dir.create(library)
  dir.create(file.path(source, "R"), recursive = TRUE)
  writeLines(c(
    "Package: carrier", "Version: 0.3.0", "Title: Stands in for a Package of this Name", "License: MIT",
    "Description: Has what the tests of mirai need.", "Author: mirai authors", "Maintainer: mirai authors <none@invalid>"
  ), file.path(source, "DESCRIPTION"))
  writeLines("export(crate)", file.path(source, "NAMESPACE"))
  writeLines(stand_in, file.path(source, "R", "crate.R"))
  log <- tempfile("log")
  status <- system2(file.path(R.home("bin"), "R"), c("CMD", "INSTALL", "--no-docs", paste0("--library=", shQuote(library)), shQuote(source)),
                    stdout = log, stderr = log)
  if (status != 0L) stop("carrier does not install:\n", paste(readLines(log), collapse = "\n"))
  paths <- .libPaths()
  .libPaths(c(library, paths))
  defer({
    unloadNamespace("carrier")
    .libPaths(paths)
  }, frame)
  loadNamespace("carrier")
  invisible()
}

local_purrr <- function(frame = parent.frame()) {
  needs_package("purrr", "1.1.0")
  local_carrier(frame)
}

test_that("purrr maps in parallel, with the results of its maps in sequence", {
  local_purrr()
  local_pool(2)
  square <- purrr::in_parallel(function(x) x^2)
  expect_identical(purrr::map(1:4, square), purrr::map(1:4, function(x) x^2))
  expect_identical(purrr::map_dbl(c(a = 1, b = 2), square), c(a = 1, b = 4))
  expect_identical(purrr::map(list(u = 1, 2), purrr::in_parallel(function(x) x + k, k = 10)), list(u = 11, 12))
  expect_identical(purrr::map(NULL, square), list())
  expect_identical(purrr::map_int(integer(), square), integer())
  pids <- purrr::map_int(1:4, purrr::in_parallel(function(x) Sys.getpid()))
  expect_false(Sys.getpid() %in% pids)
})

test_that("purrr maps in parallel without dispatcher, and in sequence without daemons", {
  local_purrr()
  where <- purrr::in_parallel(function(x) Sys.getpid())
  expect_identical(purrr::map_int(1:2, where), rep(Sys.getpid(), 2))
  local_pool(1, dispatcher = FALSE)
  pids <- purrr::map_int(1:3, where)
  expect_length(unique(pids), 1L)
  expect_false(Sys.getpid() %in% pids)
})

test_that("purrr's hand-made data frames are mapped over by row, row names come back as they are", {
  local_purrr()
  local_pool(2)
  add <- purrr::in_parallel(function(x, y) x + y)
  expect_identical(purrr::map2(1:3, 4:6, add), list(5L, 7L, 9L))
  expect_identical(purrr::map2_dbl(c(a = 1, b = 2), 10, add), c(a = 11, b = 12))
  expect_identical(purrr::map2(stats::setNames(1:4, c("a", "a", "", "b")), 1L, add), stats::setNames(as.list(2:5), c("a", "a", "", "b")))
  expect_identical(purrr::pmap(list(y = c(u = 1, v = 2), x = c(5, 6)), purrr::in_parallel(function(x, y) x - y)), list(u = 4, v = 4))
  # Without column names, columns go by position.
  expect_identical(purrr::pmap_dbl(list(c(3, 4), c(1, 1)), purrr::in_parallel(function(a, b) a - b)), c(2, 3))
  expect_identical(purrr::imap_chr(c(a = "x", b = "y"), purrr::in_parallel(function(x, i) paste0(i, x))), c(a = "ax", b = "by"))
  # Cells of lists and of classed vectors.
  expect_identical(purrr::map2(list(1:2, "z"), 1:2, purrr::in_parallel(function(x, y) x[y])), list(1L, NA_character_))
  days <- as.Date("2026-01-01") + 0:1
  expect_identical(purrr::map2(days, 1:2, add), list(days[1] + 1L, days[2] + 2L))
})

test_that("purrr's errors carry location, name and the original condition", {
  local_purrr()
  local_pool(2)
  fails <- purrr::in_parallel(function(x) if (x > 1) stop("too large") else x)
  e <- tryCatch(purrr::map(c(first = 1, second = 2), fails), error = identity)
  expect_s3_class(e, "purrr_error_indexed")
  expect_identical(e$location, 2L)
  expect_identical(e$name, "second")
  expect_s3_class(e$parent, c("error", "condition"))
  expect_match(conditionMessage(e$parent), "too large", fixed = TRUE)
  expect_identical(as.character(e$call[[1L]]), c("::", "purrr", "map"))

  e <- tryCatch(purrr::map(1:2, fails), error = identity)
  expect_identical(e$location, 2L)
  expect_null(e$name)

  e <- tryCatch(purrr::pmap(list(x = c(1, 2)), fails), error = identity)
  expect_identical(e$location, 2L)
  expect_match(conditionMessage(e$parent), "too large", fixed = TRUE)

  # What no R error stands behind. The death is told of besides.
  e <- tryCatch(suppressWarnings(purrr::map(1, purrr::in_parallel(function(x) quit("no")))), error = identity)
  expect_s3_class(e, "purrr_error_indexed")
  expect_identical(e$location, 1L)
  expect_match(conditionMessage(e$parent), "19 | Connection reset", fixed = TRUE)
})

test_that("purrr shows progress by all its settings", {
  local_purrr()
  local_pool(1)
  half <- purrr::in_parallel(function(x) x / 2)
  # A bar is shown only where somebody looks at it.
  old <- options(cli.progress_show_after = 0, cli.dynamic = FALSE, rlang_interactive = FALSE)
  defer(options(old))
  for (setting in list(TRUE, "halves", list(name = "halves", type = "tasks")))
    expect_identical(suppressMessages(purrr::map_dbl(1:3, half, .progress = setting)), c(0.5, 1, 1.5))
})

test_that("an interrupted map of purrr stops its tasks", {
  skip_unless_linux()
  local_purrr()
  started <- tempfile("started")
  child <- spawn(c(
    "library(mirai)",
    "invisible(daemons(1))",
    sprintf("slow <- function(x) { file.create('%s'); Sys.sleep(600) }", started),
    "class(slow) <- 'crate'",
    # purrr looks for a function of this class.
    "tryCatch(purrr::map(1:3, slow), interrupt = function(i) cat('interrupted\\n'))",
    "end <- Sys.time() + 60",
    "while (any(info()[c('awaiting', 'executing')] > 0) && Sys.time() < end) Sys.sleep(0.01)",
    "print(unname(info()[c('awaiting', 'executing')]))"
  ))
  await(file.exists(started))
  tools::pskill(child$pid, tools::SIGINT)
  expect_identical(child$wait(), c("interrupted", "[1] 0 0"))
})

# ---- foreach

test_that("foreach and doParallel run on a cluster", {
  needs_package("foreach", "1.5.0")
  needs_package("doParallel", "1.0.17")
  # Base R knows the type from 4.5 on.
  cluster <- if (getRversion() >= "4.5.0") parallel::makeCluster(2, type = "MIRAI") else make_cluster(2)
  defer(parallel::stopCluster(cluster))
  doParallel::registerDoParallel(cluster)
  defer(foreach::registerDoSEQ())
  `%dopar%` <- foreach::`%dopar%`
  foreach <- foreach::foreach

  expect_identical(foreach::getDoParWorkers(), 2L)
  expect_identical(foreach(i = 1:5, .combine = c) %dopar% i^2, (1:5)^2)
  expect_identical(foreach(i = 1:2, j = c("a", "b")) %dopar% paste0(j, i), list("a1", "b2"))
  pids <- foreach(i = 1:8, .combine = c) %dopar% Sys.getpid()
  expect_false(Sys.getpid() %in% pids)

  # Variables that the body mentions, and functions among them.
  offset <- 100
  shift <- function(x) x + offset
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% shift(i), 101:103 + 0)
  expect_identical(foreach(i = 1:2, .combine = c, .packages = "tools") %dopar% file_ext(c("x.a", "x.b")[i]), c("a", "b"))
  expect_identical(foreach(i = 1:3, .combine = `+`, .options.snow = list(preschedule = TRUE)) %dopar% i, 6L)

  expect_error(foreach(i = 1:3) %dopar% if (i == 2) stop("the second") else i, "task 2 failed - \"the second\"", fixed = TRUE)
  passed <- foreach(i = 1:3, .errorhandling = "pass") %dopar% if (i == 2) stop("the second") else i
  expect_identical(passed[c(1, 3)], list(1L, 3L))
  expect_s3_class(passed[[2]], "simpleError")
  expect_identical(foreach(i = 1:3, .errorhandling = "remove") %dopar% if (i == 2) stop("the second") else i, list(1L, 3L))
})

# ---- nanonext

# Both packages have methods for some of the classes, and the one loaded later has its way: in a process each.
beside_nanonext <- c(
  "invisible(daemons(1, dispatcher = TRUE))",
  "gate <- tempfile()",
  "m <- mirai({ while (!file.exists(gate)) Sys.sleep(0.005); 'done' }, gate = gate)",
  "print(m)",
  "print(m$data)",
  "m$data <- 5",
  "m[['data']] <- 5",
  "stopifnot(mirai::unresolved(m), mirai::unresolved(m$data))",
  "invisible(file.create(gate))",
  "stopifnot(identical(m[], 'done'), identical(m[1], 'done'), identical(m$data, 'done'), !mirai::unresolved(m))",
  "m$data <- 5",
  "m$value <- 5",
  "stopifnot(identical(m[], 'done'), identical(m$value, 'done'))",
  "print(m)",
  "print(mirai(Sys.sleep(600), .timeout = 10)[])",
  "print(mirai(stop('no'))[])",
  "print(utils:::.DollarNames(m, ''))",
  "stopifnot(identical(mirai_map(1:2, function(x) x + 1L)[.flat], 2:3))",
  "stopped <- mirai(Sys.sleep(600))",
  "stopifnot(stop_mirai(stopped), mirai::is_error_value(stopped$data), nanonext::is_error_value(stopped$data))",
  "print(stopped$data)",
  "stopifnot(identical(nanonext::nng_error(stopped$data), '20 | Operation canceled'))",
  # nanonext's own objects are left to it.
  "left <- nanonext::socket('pair', listen = url <- sprintf('inproc://%d', Sys.getpid()))",
  "right <- nanonext::socket('pair', dial = url)",
  "received <- nanonext::recv_aio(right)",
  "sent <- nanonext::send_aio(left, 'hello')",
  "stopifnot(identical(received[], 'hello'))",
  "print(received)",
  "close(left)",
  "close(right)"
)

beside_nanonext_shows <- c(
  "< mirai [] >", "'unresolved' logi NA", "< mirai [$data] >", "'errorValue' int 5 | Timed out",
  "'miraiError' chr Error: no", "[1] \"data\"", "'errorValue' int 20 | Operation canceled", "< recvAio | $data >"
)

test_that("nanonext may be loaded later", {
  needs_package("nanonext", "1.6.0")
  expect_identical(run_r(c("library(mirai)", "invisible(loadNamespace('nanonext'))", beside_nanonext)), beside_nanonext_shows)
})

test_that("nanonext may be loaded before", {
  needs_package("nanonext", "1.6.0")
  expect_identical(run_r(c("invisible(loadNamespace('nanonext'))", "library(mirai)", beside_nanonext)), beside_nanonext_shows)
})

test_that("promises of mirai are ours, whatever is loaded in which order", {
  needs_package("nanonext", "1.6.0")
  needs_package("promises", "1.3.0")
  uses <- c(
    "invisible(daemons(1))",
    "m <- mirai('kept')",
    "stopifnot(promises::is.promising(m))",
    "reached <- FALSE",
    "invisible(promises::then(m, function(value) { cat(value, '\\n'); reached <<- TRUE }))",
    "while (!reached) later::run_now(10)",
    "failed <- NULL",
    "invisible(promises::catch(promises::as.promise(mirai(stop('broken'))), function(e) failed <<- conditionMessage(e)))",
    "while (is.null(failed)) later::run_now(10)",
    "cat(grepl('broken', failed), '\\n')"
  )
  packages <- c("invisible(loadNamespace('promises'))", "invisible(loadNamespace('nanonext'))", "library(mirai)")
  for (order in list(1:3, 3:1, c(3, 1, 2), c(2, 3, 1)))
    expect_identical(
      grep("^kept|^TRUE", run_r(c(paste0("suppressPackageStartupMessages(", packages[order], ")"), uses)), value = TRUE),
      c("kept ", "TRUE ")
    )
})

# ---- arrow

test_that("a table of arrow travels through its own serialisation", {
  needs_package("arrow", "12.0.0")
  suppressPackageStartupMessages(loadNamespace("arrow"))
  config <- serial_config(
    "ArrowTabular",
    function(x) arrow::write_to_raw(x, format = "stream"),
    function(bytes) arrow::read_ipc_stream(bytes, as_data_frame = FALSE)
  )
  table <- arrow::arrow_table(data.frame(id = 1:3, name = c("x", NA, "z"), at = as.POSIXct("2026-01-01", tz = "UTC") + 1:3))
  local_pool(1, serial = config)
  back <- mirai(list(rows = nrow(table), table = table, half = table$Slice(1)), table = table)[]
  expect_identical(back$rows, 3L)
  expect_s3_class(back$table, "ArrowTabular")
  expect_true(back$table$Equals(table))
  expect_identical(as.data.frame(back$half)$name, c(NA, "z"))
  # And in a map, among the constants and the values.
  counts <- mirai_map(1:2, function(i, data) nrow(data) + i, .args = list(data = table))
  expect_identical(counts[.flat], 4:5)
  tables <- mirai_map(list(table, table), function(x) x)[]
  expect_true(tables[[2]]$Equals(table))
  # A record batch comes as the table that the article says.
  batch <- arrow::record_batch(id = 1:3)
  there <- mirai(list(sum = sum(as.data.frame(batch)$id), back = batch), batch = batch)[]
  expect_identical(there$sum, 6L)
  expect_s3_class(there$back, "Table")
  expect_true(there$back$Equals(arrow::arrow_table(batch)))
})

test_that("a table of arrow is mapped over by rows", {
  needs_package("arrow", "12.0.0")
  local_pool(1)
  table <- arrow::arrow_table(a = 1:3, b = c("x", "y", "z"))
  expect_identical(mirai_map(table, function(b, a) paste(a, b))[.flat], c("1 x", "2 y", "3 z"))
  expect_length(mirai_map(arrow::arrow_table(a = integer(), b = character()), function(a, b) 1)[], 0L)
})

test_that("a table of arrow arrives as a dead pointer without it, which is an ordinary error", {
  needs_package("arrow", "12.0.0")
  suppressPackageStartupMessages(loadNamespace("arrow"))
  local_pool(1)
  table <- arrow::arrow_table(a = 1:2)
  expect_s3_class(mirai(nrow(table), table = table)[], "miraiError")
  expect_identical(mirai("alive")[], "alive")
})
