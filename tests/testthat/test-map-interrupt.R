# Ctrl-C while a map is collected, or evaluated here.

# Interrupts this session once the gate is open: not before the map has been made.
interrupting <- function(i, host, gate) {
  while (!file.exists(gate)) Sys.sleep(0.005)
  if (i == 1L) tools::pskill(host, tools::SIGINT)
  Sys.sleep(60)
}

gated <- function() list(host = Sys.getpid(), gate = tempfile("gate"))

# As an option of collecting, so that the gate is opened when the map is there.
opened <- function(option, gate) {
  file.create(gate)
  option
}

interrupted <- function(expr) tryCatch({
  expr
  "not interrupted"
}, interrupt = function(e) "interrupted")

at_work <- function() sum(info()[c("awaiting", "executing")])

test_that("an interrupt cancels a map that was made in the call", {
  skip_on_os("windows")
  local_pool(1)
  for (collect in list(
    function(args) mirai_map(1:20, interrupting, .args = args)[opened(.flat, args$gate)],
    function(args) mirai::mirai_map(1:20, interrupting, .args = args)[.progress, opened(.stop, args$gate)],
    function(args) collect_mirai(mirai_map(1:20, interrupting, .args = args), opened(NULL, args$gate))
  )) {
    expect_identical(interrupted(collect(gated())), "interrupted")
    await(at_work() == 0L)
  }
  expect_identical(value(mirai("free")), "free")
})

test_that("a map that somebody has goes on", {
  skip_on_os("windows")
  local_pool(1)
  own <- function(...) mirai_map(...)
  for (collect in list(
    function(x, gate) x[opened(.flat, gate)],
    function(x, gate) collect_mirai(x, opened(NULL, gate)),
    function(x, gate) x[1:2][opened(.stop, gate)],
    function(x, gate) collect_mirai(list(x[[1L]]), opened(NULL, gate)),
    function(x, gate) identity(x)[opened(.flat, gate)]
  )) {
    args <- gated()
    x <- own(1:3, interrupting, .args = args)
    expect_identical(interrupted(collect(x, args$gate)), "interrupted")
    expect_identical(at_work(), 3L)
    stop_mirai(x)
    await(at_work() == 0L)
  }
})

test_that("an interrupt stops a map of a synchronous profile", {
  skip_on_os("windows")
  local_pool(sync = TRUE)
  begun <- tempfile()
  x <- NULL
  outcome <- interrupted(x <- mirai_map(1:3, function(i, begun) {
    cat(i, "\n", file = begun, append = TRUE)
    tools::pskill(Sys.getpid(), tools::SIGINT)
    Sys.sleep(60)
  }, .args = list(begun = begun)))
  expect_identical(outcome, "interrupted")
  expect_null(x)
  expect_identical(readLines(begun), "1 ")
  expect_true(is_mirai_interrupt(mirai({
    tools::pskill(Sys.getpid(), tools::SIGINT)
    Sys.sleep(60)
  })[]))
})

test_that("at the prompt Ctrl-C leaves nothing of such a map behind", {
  skip_on_os("windows")
  child <- spawn(c(
    "library(mirai)",
    "daemons(1)",
    "host <- Sys.getpid()",
    "f <- function(i, host) { if (i == 1L) tools::pskill(host, tools::SIGINT); Sys.sleep(60) }",
    "mirai_map(1:20, f, .args = list(host = host))[]",
    "while (sum(info()[c('awaiting', 'executing')]) > 0L) Sys.sleep(0.01)",
    "writeLines(paste('left', 'nothing'))",
    "quit('no')"
  ), at_prompt = TRUE)
  expect_length(grep("^left nothing", child$wait()), 1L)
})

test_that("an interrupt is seen while a map waits at the memory limit, however often there is room", {
  skip_on_os("windows")
  local_pool(1, memory = 0.001)
  begun <- tempfile("begun")
  outcome <- interrupted(mirai_map(1:1000, function(i, host, begun) {
    cat(i, "\n", file = begun, append = TRUE)
    if (i == 1L) tools::pskill(host, tools::SIGINT)
    # Room comes more often than it is waited for in vain.
    Sys.sleep(0.02)
  }, .args = list(host = Sys.getpid(), begun = begun)))
  expect_identical(outcome, "interrupted")
  expect_lt(length(readLines(begun)), 200L)
  await(at_work() == 0L)
  expect_identical(value(mirai("free")), "free")
})
