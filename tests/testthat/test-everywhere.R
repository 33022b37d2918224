test_that("with .replay, daemons that come later get it before their first task, in order", {
  for (dispatcher in c(TRUE, FALSE)) {
    daemons(url = local_url(), dispatcher = dispatcher)
    defer(daemons(0))
    expect_length(everywhere({there <<- 1; options(mirai.test.replay = "set")}, .replay = TRUE), 0L)
    expect_length(everywhere(there <<- there + by, by = 10, .replay = TRUE), 0L)
    launch_local(2)
    await(info()[["connections"]] == 2)
    tasks <- lapply(1:20, function(i) mirai(c(there, Sys.getpid())))
    expect_identical(unique(vapply(tasks, function(m) value(m)[1L], 0)), 11)
    expect_identical(value(mirai(getOption("mirai.test.replay"))), "set")
    # Those that are connected get it at once, each once.
    expect_identical(everywhere(there <<- there + 1, .replay = TRUE)[.flat], c(12, 12))
    launch_local(1)
    await(info()[["connections"]] == 3)
    expect_identical(everywhere(there)[.flat], c(12, 12, 12))
    expect_identical(status()$workers$state, rep("idle", 3L))
    daemons(0)
  }
})

test_that("a replay is no task: it counts for no limit, and what fails in it shows", {
  daemons(url = local_url())
  defer(daemons(0))
  everywhere(there <<- TRUE, .replay = TRUE)
  launch_local(1, maxtasks = 1)
  expect_true(value(mirai(there)))
  await(info()[["connections"]] == 0)
  everywhere(stop("no luck"), .replay = TRUE)
  launch_local(1)
  expect_true(value(mirai(there)))
  expect_identical(status()$workers$state, "unprepared")
  expect_identical(info()[["completed"]], 2L)
  expect_refused(everywhere(1, .replay = NA), "`.replay` must be", "everywhere")
})

test_that("a daemon that is being set up gets no task while another is free", {
  local_pool(1)
  gate <- tempfile()
  file.create(gate)
  set_up <- everywhere(while (!file.exists(gate)) Sys.sleep(0.01), gate = gate, .replay = TRUE)
  call_mirai(set_up)
  file.remove(gate)
  launch_local(1)
  await(info()[["connections"]] == 2)
  for (i in 1:3) expect_identical(value(mirai(i, i = i, .timeout = 10000)), i)
  file.create(gate)
  expect_length(everywhere(1)[.flat], 2L)
})

test_that("a reset ends replays", {
  url <- local_url()
  daemons(url = url)
  defer(daemons(0))
  everywhere(there <<- TRUE, .replay = TRUE)
  daemons(url = url)
  launch_local(1)
  expect_false(value(mirai(exists("there"))))
})

test_that("each daemon evaluates once, and the result is a map without names", {
  local_pool(3)
  expect_invisible(x <- everywhere(Sys.getpid()))
  expect_s3_class(x, "mirai_map", exact = TRUE)
  expect_null(names(x))
  expect_length(unique(x[.flat]), 3L)
})

test_that("effects outlive the clean-up", {
  local_pool(2)
  everywhere({
    library(stats4)
    counted <<- 1
    options(mirai.test = "kept")
  }, exported = 5)[]
  for (i in 1:4) {
    expect_identical(mirai(list(exported, counted, getOption("mirai.test"), "package:stats4" %in% search()))[],
                     list(5, 1, "kept", TRUE))
  }
  everywhere({}, a = 1)
  expect_identical(mirai(a)[], 1)
})

test_that("language objects in variables are evaluated", {
  local_pool(1)
  ex <- quote(x + 1)
  expect_identical(everywhere(ex, .args = list(x = 1))[], list(2))
})

test_that("an error is a value in the result", {
  local_pool(2)
  x <- everywhere(stop("all"))[]
  expect_length(x, 2L)
  for (e in x) expect_identical(as.vector(e), "Error: all")
})

test_that("it needs daemons, and right arguments", {
  expect_error(everywhere(1), "No daemons set")
  local_pool(1)
  expect_refused(everywhere(1, 2), "all `...` arguments must be named", "everywhere")
  expect_refused(everywhere(1, .args = list(2)), "all items in `.args` must be named", "everywhere")
  for (bad in list("a", -1, NULL, NA, Inf, 1:2))
    expect_refused(everywhere(1, .min = bad), "`.min` must be a whole number of daemons", "everywhere")
})

test_that("what is wrong with it is told before anything is sent", {
  local_pool(1)
  sent <- info()
  expect_refused(everywhere(), "missing expression, perhaps wrap in {}?", "everywhere")
  expect_refused(everywhere(x + 1, x = 1, 2), "all `...` arguments must be named", "everywhere")
  expect_identical(info(), sent)
})

test_that("without daemons the error is that of require_daemons(), for its call", {
  skip_if_not_installed("cli")
  skip_if_not_installed("rlang")
  e <- tryCatch(everywhere(1, .compute = "nowhere"), error = identity)
  expect_s3_class(e, "rlang_error")
  expect_identical(conditionCall(e)[[1L]], quote(everywhere))
})

test_that(".min below the number of daemons changes nothing", {
  local_pool(2)
  expect_length(unique(everywhere(Sys.getpid(), .min = 0)[.flat]), 2L)
  expect_length(unique(everywhere(Sys.getpid(), .min = 1)[.flat]), 2L)
})

test_that("a running task delays only its own daemon", {
  local_pool(2)
  held <- hold()
  held$started()
  x <- everywhere("done")
  await(sum(!vapply(x, unresolved, NA)) == 1L)
  expect_true(unresolved(held$m))
  expect_true(unresolved(x))
  held$open()
  expect_identical(x[], list("done", "done"))
})

test_that("consecutive calls reach each daemon once", {
  local_pool(3)
  x <- lapply(1:5, function(i) everywhere(c(i, Sys.getpid()), .args = list(i = i)))
  pids <- daemon_pids()
  skip_if_not(length(pids) == 3L, "needs /proc")
  for (i in 1:5) {
    values <- x[[i]][]
    expect_identical(vapply(values, `[`, 0L, 1L), rep(i, 3L))
    expect_setequal(vapply(values, `[`, 0L, 2L), pids)
  }
})

test_that("daemons that connect later do not get it", {
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  everywhere(there <<- 1)[]
  launch_local(1)
  await(info()[["connections"]] == 2L)
  found <- everywhere(c(Sys.getpid() == pid, exists("there")), .args = list(pid = pid))[]
  expect_setequal(found, list(c(TRUE, TRUE), c(FALSE, FALSE)))
})

test_that("a later task does not start on a daemon before it has done its evaluation", {
  local_pool(2)
  for (round in 1:10) {
    everywhere(turn <<- r, .args = list(r = round))
    expect_identical(unlist(collect_mirai(lapply(1:4, function(i) mirai(turn)))), rep(round, 4L))
  }
})

test_that("the queue is held until .min daemons have come", {
  local_pool(2)
  x <- everywhere(Sys.getpid(), .min = 3)
  expect_length(x, 3L)
  m <- mirai("behind")
  await(sum(!vapply(x, unresolved, NA)) == 2L)
  expect_identical(info()[["awaiting"]], 2L)
  expect_true(unresolved(m))
  launch_local(1)
  expect_identical(value(m), "behind")
  expect_length(unique(unlist(x[])), 3L)
})

test_that("with none connected one evaluation waits for the first", {
  local_pool(url = local_url())
  x <- everywhere(first <<- TRUE)
  expect_length(x, 1L)
  launch_local(1)
  call_mirai(x)
  expect_true(value(mirai(first)))
  launch_local(1)
  await(info()[["connections"]] == 2L)
  expect_setequal(everywhere(exists("first"))[.flat], c(TRUE, FALSE))
})

test_that("a daemon that dies does not keep the others waiting", {
  skip_unless_linux()
  local_pool(2, heal = FALSE)
  held <- hold()
  held$started()
  pids <- everywhere(Sys.getpid())
  await(sum(!vapply(pids, unresolved, NA)) == 1L)
  other <- unlist(lapply(pids, function(m) if (!unresolved(m)) m$data))
  busy <- setdiff(daemon_pids(), other)
  m <- mirai("goes on")
  tools::pskill(busy, tools::SIGKILL)
  expect_code(value(held$m), 19L)
  expect_identical(value(m), "goes on")
  expect_false(unresolved(call_mirai(pids)))
})

test_that("without dispatcher each daemon gets one", {
  local_pool(2, dispatcher = FALSE)
  expect_length(unique(everywhere(Sys.getpid())[.flat]), 2L)
  everywhere(kept <<- 3)
  expect_identical(unlist(collect_mirai(lapply(1:4, function(i) mirai(kept)))), rep(3, 4L))
})

test_that("without dispatcher .min is ignored", {
  local_pool(2, dispatcher = FALSE)
  expect_length(everywhere(1, .min = 5), 2L)
  local_pool(url = local_url(), dispatcher = FALSE)
  expect_length(everywhere(1, .min = 5), 1L)
})

test_that("more evaluations than a hub can serve are an error, and the session goes on", {
  local_pool(1, memory = 1)
  expect_error(everywhere(1, .min = 2e8), "at most 65536 evaluations", fixed = TRUE)
  expect_identical(value(mirai("next")), "next")
})

test_that("at the prompt it says how many daemons have failed, in the next call, and nowhere else", {
  child <- spawn(c(
    "library(mirai)",
    "daemons(2)",
    "everywhere(library(thatisnone))",
    "everywhere(1)",
    "m <- mirai('fine')",
    "m[]",
    "prepare <- function() everywhere(stop('looked at by whoever called'))",
    "while (unresolved(prepare())) Sys.sleep(0.01)",
    "invisible(info())",
    "daemons(sync = TRUE)",
    "everywhere(stop('here'))",
    "quit('no')"
  ), at_prompt = TRUE)
  log <- grep("mirai: |here|looked|fine", child$wait(), value = TRUE)
  expect_length(grep("everywhere\\(\\) has failed on 2 of 2 daemons: there is no package called .thatisnone", log), 1L)
  expect_length(grep("everywhere\\(\\) has failed on 1 of 1 daemon: here", log), 1L)
  expect_length(grep("failed on .*looked", log), 0L)
})
