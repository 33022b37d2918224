# Small tasks that travel together to daemons of this machine.

skip_within_check()

# A pool that knows by now how short its tasks are.
local_quick_pool <- function(..., frame = parent.frame()) {
  local_pool(..., frame = frame)
  collect_mirai(mirai_map(1:200, identity))
}

# Evaluates elements; that which `is` names waits until a file is there.
wait_at <- function(i, is, gate) {
  if (i == is) while (!file.exists(gate)) Sys.sleep(0.01)
  i
}

test_that("nothing waits behind a long task while another daemon has nothing to do", {
  local_quick_pool(2)
  gate <- tempfile()
  for (is in c(1L, 300L, 1000L)) {
    x <- mirai_map(1:1000, wait_at, .args = list(is = is, gate = gate))
    await(all(vapply(x[-is], function(m) !unresolved(m), NA)))
    expect_true(unresolved(x[[is]]))
    # All that is not resolved is with a daemon.
    expect_identical(unname(info()[c("awaiting", "executing")]), 0:1)
    file.create(gate)
    expect_identical(x[.flat], 1:1000)
    unlink(gate)
  }
})

test_that("what a long task has behind it waits in order, is counted as awaiting, and is cancelled at once", {
  local_quick_pool(1)
  gate <- tempfile()
  log <- tempfile()
  x <- mirai_map(1:1000, function(i, wait_at, is, gate, log) {
    cat(i, "\n", file = log, append = TRUE)
    wait_at(i, is, gate)
  }, .args = list(wait_at = wait_at, is = 300L, gate = gate, log = log))
  await(!unresolved(x[[299L]]))
  expect_true(unresolved(x[[300L]]))
  expect_identical(unname(info()[c("awaiting", "executing", "completed")]), c(700L, 1L, 499L))
  expect_true(all(unlist(stop_mirai(x[301:310]))))
  expect_true(all(vapply(x[301:310], function(m) m$data == 20L, NA)))
  expect_identical(info()[["awaiting"]], 690L)
  file.create(gate)
  expect_identical(unlist(x[-(301:310)][]), setdiff(1:1000, 301:310))
  expect_identical(as.integer(readLines(log)), setdiff(1:1000, 301:310))
})

test_that("what waits behind a long task times out on time", {
  local_quick_pool(1)
  gate <- tempfile()
  x <- mirai_map(1:200, wait_at, .args = list(is = 50L, gate = gate))
  timed <- lapply(1:50, function(i) mirai(i, i = i, .timeout = 100))
  more <- mirai_map(1:200, identity)
  for (m in timed) expect_code(value(m), 5L)
  expect_true(unresolved(x[[50L]]))
  file.create(gate)
  expect_identical(x[.flat], 1:200)
  expect_identical(more[.flat], 1:200)
})

test_that("a death in the midst of many costs the one that was under way and nothing else", {
  local_quick_pool(2, heal = FALSE)
  x <- mirai_map(1:2000, function(i) if (i == 1000L) tools::pskill(Sys.getpid(), 9L) else i)
  values <- x[]
  expect_code(values[[1000L]], 19L)
  expect_identical(unlist(values[-1000L]), (1:2000)[-1000L])
  expect_identical(info()[["connections"]], 1L)
})

test_that("a value is there while the next task is under way", {
  local_quick_pool(1)
  gates <- replicate(3L, tempfile())
  x <- mirai_map(1:300, function(i, gates) {
    gate <- match(i, c(100L, 101L, 200L))
    if (!is.na(gate)) while (!file.exists(gates[gate])) Sys.sleep(0.01)
    i
  }, .args = list(gates = gates))
  for (gate in 1:3) {
    at <- c(100L, 101L, 200L)[gate]
    await(!unresolved(x[[at - 1L]]))
    expect_true(unresolved(x[[at]]))
    file.create(gates[gate])
  }
  expect_identical(x[.flat], 1:300)
})

test_that("random numbers with a seed do not depend on how tasks travel", {
  draw <- function(n) {
    local_pool(n, seed = 1L)
    unlist(mirai_map(1:500, function(i) runif(1L))[])
  }
  expect_identical(draw(1), draw(3))
})

test_that("everywhere() in the midst of many has each daemon before what comes later", {
  local_quick_pool(2)
  before <- mirai_map(1:1000, function(i) exists("marked"))
  all <- everywhere(marked <<- TRUE)
  after <- mirai_map(1:1000, function(i) marked)
  expect_true(all(after[.flat]))
  expect_false(any(before[.flat]))
  expect_length(collect_mirai(all), 2L)
})

test_that("a daemon with a limit of tasks evaluates as many, and the others follow", {
  local_quick_pool(1)
  daemons(0)
  local_pool(url = local_url())
  for (i in 1:4) launch_local(1, maxtasks = 50)
  x <- mirai_map(1:200, function(i) Sys.getpid())
  expect_identical(as.integer(sort(table(unlist(x[])))), rep(50L, 4L))
})

# Tasks that are submitted one by one share a pointer where many wait.

pointers <- function(tasks) {
  seen <- list()
  for (m in tasks) {
    task <- attr(m, "task", TRUE)
    if (!any(vapply(seen, identical, NA, task))) seen <- c(seen, list(task))
  }
  length(seen)
}

queued <- function(n) lapply(seq_len(n), function(i) mirai(list(x, "value"), .args = list(x = i)))

test_that("the first that wait have a pointer each, and later ones share it", {
  local_pool(1)
  held <- hold()
  held$started()
  few <- queued(40)
  expect_identical(pointers(few), 40L)
  tasks <- queued(300)
  expect_lt(pointers(tasks[101:300]), 20L)
  expect_identical(diff(vapply(tasks, attr, 0L, "id")), rep(1L, 299L))
  # Some are cancelled, read out of order, saved or forgotten; the others don't notice.
  expect_true(stop_mirai(tasks[[150]]))
  expect_identical(as.integer(tasks[[150]][]), 20L)
  copy <- serialize(tasks[[200]], NULL)
  expect_lt(length(copy), 20000L)
  expect_s3_class(unserialize(copy), "mirai")
  tasks[c(151:160, 171:180)] <- list(NULL)
  gc()
  gc()
  expect_identical(sum(vapply(tasks[161:170], unresolved, NA)), 10L)
  held$open()
  expect_identical(tasks[[299]][], list(299L, "value"))
  expect_null(attr(tasks[[299]], "task"))
  left <- setdiff(1:300, c(150:160, 171:180))
  expect_identical(lapply(collect_mirai(tasks[left]), `[[`, 1L), as.list(left))
  expect_identical(lapply(tasks[left], function(m) m$data[[1L]]), as.list(left))
})

test_that("tasks of different pools share no pointer, and each has the outcome of its own", {
  local_pool(1)
  local_pool(1, .compute = "other")
  held <- hold()
  held$started()
  also <- hold(.compute = "other")
  also$started()
  queued(100)
  for (i in 1:100) mirai(i, i = i, .compute = "other")
  turns <- rep(c("default", "other"), 40)
  tasks <- lapply(seq_along(turns), function(i) mirai(c(x, i), .args = list(x = turns[i], i = i), .compute = turns[i]))
  daemons(0, .compute = "other")
  expect_true(all(vapply(tasks[turns == "other"], function(m) is_error_value(m[]), NA)))
  expect_true(all(vapply(tasks[turns == "default"], unresolved, NA)))
  held$open()
  expect_identical(collect_mirai(tasks[[79]]), c("default", "79"))
})

test_that("a value that nobody wants any more does not stay for long", {
  local_pool(1)
  held <- hold()
  held$started()
  tasks <- queued(200)
  gone <- new.env()
  gone$collected <- FALSE
  reg.finalizer(attr(tasks[[200]], "task"), function(x) gone$collected <- TRUE)
  rm(tasks)
  gc()
  gc()
  gc()
  expect_true(gone$collected)
  held$open()
})

test_that("finalizers submit tasks amid the submitting of others", {
  local_pool(1)
  held <- hold()
  held$started()
  later <- list()
  submitting <- function(e) later <<- c(later, list(mirai(list(x, "finalizer"), .args = list(x = length(later)))))
  tasks <- lapply(1:2000, function(i) {
    if (i %% 10 == 0) reg.finalizer(new.env(), submitting)
    mirai(list(x, "value"), .args = list(x = i))
  })
  gc()
  held$open()
  expect_identical(collect_mirai(tasks), lapply(1:2000, list, "value"))
  expect_gt(length(later), 100L)
  expect_true(all(vapply(collect_mirai(later), `[[`, "", 2L) == "finalizer"))
})

# R loses finalizers and weak references that are made while it runs finalizers, if what comes next has one that is due as well.
# Two of these follow each other, the first to run submits.
submitting_finalizers <- c(
  "library(mirai)",
  "daemons(1)",
  "due <- function(f) {reg.finalizer(new.env(), function(e) NULL); reg.finalizer(new.env(), f); NULL}"
)

test_that("mirai that finalizers submit, and nobody holds, are nothing to those after them", {
  child <- spawn(c(
    submitting_finalizers,
    "old <- lapply(1:40, function(i) mirai(1))",
    "for (round in 1:20) {due(function(e) for (i in 1:5) mirai(5)); gc(FALSE)}",
    "gc(FALSE)",
    "Sys.sleep(1)",
    "others <- lapply(1:20000, function(i) pairlist(a = i))",
    "rm(old)",
    "for (round in 1:2) gc(FALSE)",
    "cat('others', identical(others, lapply(1:20000, function(i) pairlist(a = i))), '\\n')",
    "cat('value', mirai(5)[], '\\n')"
  ))
  log <- child$wait(60)
  expect_true("others TRUE " %in% log)
  expect_true("value 5 " %in% log)
})

test_that("those that finalizers submit behind many others have the list of their own", {
  child <- spawn(c(
    submitting_finalizers,
    "held <- mirai(Sys.sleep(60))",
    "queued <- lapply(1:70, function(i) mirai(0))",
    "got <- list()",
    "for (round in 1:20) {due(function(e) for (i in 1:20) got[[length(got) + 1L]] <<- mirai(5)); gc(FALSE)}",
    "for (round in 1:2) gc(FALSE)",
    "others <- lapply(1:20000, function(i) as.list(rep(TRUE, 32)))",
    "for (m in got) stop_mirai(m)",
    "values <- lapply(got, function(m) m[])",
    "cat('stopped', length(values) > 0L, all(vapply(values, is_error_value, NA)), '\\n')",
    "cat('others', any(vapply(others, function(x) any(vapply(x, is.null, NA)), NA)), '\\n')"
  ))
  log <- child$wait(60)
  expect_true("stopped TRUE TRUE " %in% log)
  expect_true("others FALSE " %in% log)
})
