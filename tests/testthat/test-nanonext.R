# nanonext's view of our objects, as packages above use it: its functions on a mirai, and its condition variable of a pool. In
# processes of their own, as nanonext is not to be loaded here.

skip_within_check()

runs <- function(code, ...) {
  needs_package("nanonext", "1.9.0")
  log <- run_r(c("library(mirai)", code, "cat('the end\\n')"), ...)
  expect_identical(log[length(log)], "the end", label = paste(log, collapse = "\n"))
  log
}

# `until()` counts a signal down.
counting <- c(
  "signals <- function(cv, n) for (i in seq_len(n)) if (!nanonext::until(cv, 60000)) stop('no signal ', i)",
  "none_left <- function(cv) stopifnot(nanonext::cv_value(cv) == 0L)"
)

test_that("without a pool, or in a synchronous one, there is no condition variable", {
  expect_null(nextget("cv"))
  runs(c(
    "stopifnot(is.null(nextget('cv')))",
    "daemons(sync = TRUE)",
    "stopifnot(is.null(nextget('cv')))",
    "daemons(0)",
    "stopifnot(is.null(nextget('cv')))"
  ))
})

test_that("a session that does not ask for it has nothing of it", {
  needs_package("nanonext", "1.9.0")
  log <- runs(c(
    "daemons(1)",
    "m <- mirai(1)",
    "stopifnot(identical(m[], 1), identical(sort(ls(m)), c('data', 'value')))",
    "threads <- list.files('/proc/self/task')",
    "names <- vapply(threads, function(id) readLines(sprintf('/proc/self/task/%s/comm', id)), '')",
    "cat('loaded', isNamespaceLoaded('nanonext'), any(grepl('mirai-re', names)), '\\n')"
  ))
  expect_true("loaded FALSE FALSE " %in% log)
})

test_that("nanonext's functions see whether a mirai is resolved, and wait for it", {
  runs(c(
    counting,
    "daemons(2)",
    "cv <- nextget('cv')",
    "stopifnot(inherits(cv, 'conditionVariable'), identical(cv, nextget('cv')))",
    "gate <- tempfile()",
    "held <- function() mirai({ while (!file.exists(gate)) Sys.sleep(0.005); 'done' }, gate = gate)",
    "m <- held(); n <- held()",
    "stopifnot(nanonext::.unresolved(m), nanonext::unresolved(m), unresolved(m), nanonext::.unresolved(list(m, n)) == 2L)",
    "stopifnot(is.null(m$value), is.null(.subset2(m, 'value')), inherits(.subset2(m, 'data'), 'unresolvedValue'))",
    "stopifnot(!nanonext::until(cv, 10))",
    "invisible(file.create(gate))",
    "stopifnot(identical(nanonext::call_aio(m)$data, 'done'), identical(m$value, 'done'), identical(m[], 'done'))",
    "stopifnot(identical(nanonext::call_aio(n)[], 'done'), !nanonext::.unresolved(list(m, n)), !nanonext::unresolved(n))",
    "signals(cv, 2L); none_left(cv)",
    # The value is ours to give.
    "stopifnot(nanonext::is_error_value(nanonext::collect_aio(mirai(1))))",
    "race <- list(mirai(Sys.sleep(600)), mirai('first'))",
    "stopifnot(nanonext::race_aio(race, cv) == 2L, identical(.subset2(race[[2L]], 'data'), 'first'))",
    "daemons(0)"
  ))
})

test_that("each task signals exactly once, however it ends", {
  runs(c(
    counting,
    "daemons(2)",
    "cv <- nextget('cv')",
    "x <- mirai_map(1:500, identity)",
    "signals(cv, 500L)",
    "stopifnot(identical(unlist(x[]), 1:500), nanonext::.unresolved(nanonext::call_aio(unclass(x))) == 0L)",
    "invisible(everywhere(1)[]); signals(cv, 2L)",
    "over <- function(m) !nanonext::.unresolved(nanonext::call_aio(m))",
    "m <- mirai(stop('no')); signals(cv, 1L); stopifnot(over(m), is_mirai_error(m$data))",
    "m <- mirai(Sys.sleep(600), .timeout = 50); signals(cv, 1L); stopifnot(over(m), m$data == 5L)",
    "m <- mirai(Sys.sleep(600)); stopifnot(stop_mirai(m)); signals(cv, 1L); stopifnot(over(m), m$data == 20L)",
    "m <- mirai(quit('no')); signals(cv, 1L); stopifnot(over(m), m$data == 19L)",
    # Nobody holds on to it.
    "mirai('dropped'); invisible(gc()); signals(cv, 1L)",
    "m <- list(mirai(Sys.sleep(600)), mirai(Sys.sleep(600)), mirai(1))",
    "daemons(0)",
    "signals(cv, 3L)",
    "invisible(nanonext::call_aio(m))",
    "stopifnot(vapply(m, function(m) m$data == 19L, NA))",
    "invisible(gc())",
    "stopifnot(!nanonext::until(cv, 100)); none_left(cv)"
  ))
})

test_that("nanonext takes a task for resolved as soon as we do", {
  runs(c(
    counting,
    "daemons(1)",
    "early <- mirai_map(1:3, function(x) Sys.sleep(60)); after <- mirai_map(1:50, identity)",
    "cv <- nextget('cv')",
    "late <- function(...) nanonext::.unresolved(list(...))",
    "stopifnot(stop_mirai(early), !do.call(late, unclass(early)))",
    "x <- after[]; stopifnot(!do.call(late, unclass(after)))",
    "signals(cv, 53L); none_left(cv)",
    "for (i in 1:50) {",
    "  m <- mirai(1); n <- mirai(Sys.sleep(60)); o <- mirai(Sys.sleep(60))",
    "  stopifnot(m[] == 1, !late(m))",
    "  stopifnot(stop_mirai(list(n, o)), !late(n, o))",
    "  m <- mirai(Sys.sleep(60)); stopifnot(stop_mirai(m), !late(m))",
    "  m <- mirai(1); call_mirai(m); stopifnot(!late(m))",
    "  m <- mirai(1); n <- mirai(2); call_mirai(list(m, n)); stopifnot(!late(m, n))",
    "  m <- mirai(1); while (unresolved(m)) NULL; stopifnot(!late(m))",
    "  m <- mirai(1); while (inherits(m$data, 'unresolvedValue')) NULL; stopifnot(!late(m))",
    "  m <- mirai(1); while (unresolved(list(m))) NULL; stopifnot(!late(m))",
    "  m <- mirai(1); stopifnot(race_mirai(list(m)) == 1L, !late(m))",
    "  stopifnot(identical(unlist(mirai_map(1:3, identity)[.stop]), 1:3))",
    "}"
  ))
})

test_that("tasks that were there before count like others", {
  runs(c(
    counting,
    "daemons(1)",
    "gate <- tempfile()",
    "done <- mirai('done'); invisible(done[])",
    "early <- mirai({ while (!file.exists(gate)) Sys.sleep(0.005); 'early' }, gate = gate)",
    "map <- mirai_map(1:3, identity)",
    "invisible(gc())",
    "stopifnot(!nanonext::.unresolved(early))",
    "cv <- nextget('cv')",
    "stopifnot(!nanonext::.unresolved(done), nanonext::.unresolved(early), nanonext::.unresolved(unclass(map)) == 3L)",
    # Of the one that has ended.
    "signals(cv, 1L); none_left(cv)",
    "invisible(file.create(gate))",
    "signals(cv, 4L)",
    "stopifnot(identical(nanonext::call_aio(early)$data, 'early'), identical(unlist(map[]), 1:3))",
    "stopifnot(!nanonext::until(cv, 100))"
  ))
})

test_that("counts of tasks agree with what nanonext says of them", {
  runs(c(
    "daemons(2)",
    "cv <- nextget('cv')",
    "sent <- 0L",
    "all <- list()",
    "for (round in 1:200) {",
    "  all <- c(all, list(mirai(round, round = round), mirai(round + 1, round = round)))",
    "  sent <- sent + 2L",
    "  resolved <- sent - nanonext::.unresolved(all)",
    "  now <- info()",
    "  stopifnot(sum(now[3:5]) == sent, now[['completed']] >= resolved, now[['completed']] <= sent - nanonext::.unresolved(all))",
    "  stopifnot(sum(status()$mirai) == sent)",
    "}",
    "nanonext::call_aio(all)",
    "while (info()[['completed']] < sent) Sys.sleep(0.01)",
    "stopifnot(info()[['completed']] == sent)"
  ))
})

test_that("each profile has its own, and resetting one leaves the others", {
  runs(c(
    counting,
    "daemons(1, .compute = 'a'); daemons(1, .compute = 'b')",
    "a <- nextget('cv', 'a'); b <- nextget('cv', 'b')",
    "m <- mirai(1, .compute = 'a'); signals(a, 1L); none_left(b)",
    "daemons(0, .compute = 'a')",
    "n <- mirai(2, .compute = 'b'); signals(b, 1L); none_left(a)",
    "stopifnot(identical(n$data, 2), identical(m$data, 1), is.null(nextget('cv', 'a')))",
    "daemons(1, .compute = 'a')",
    "m <- mirai(3, .compute = 'a'); signals(nextget('cv', 'a'), 1L); none_left(a); stopifnot(m$data == 3)"
  ))
})

test_that("other packages' ways with condition variables work, over a network address too", {
  runs(c(
    counting,
    "daemons(url = 'tcp://127.0.0.1:0', .compute = 'far')",
    "relay <- nanonext::cv()",
    "invisible(nanonext::`%~>%`(nextget('cv', 'far'), relay))",
    "invisible(launch_local(1, .compute = 'far'))",
    "code <- quote(x + 1)",
    "m <- mirai(.expr = code, .args = list(x = 2), .compute = 'far')",
    "while (!nanonext::until_(relay, 60000)) NULL",
    "stopifnot(!nanonext::.unresolved(nanonext::call_aio(m)), identical(.subset2(m, 'data'), 3))",
    "daemons(0, .compute = 'far')"
  ))
})
