# What is said to whoever makes a mistake: what was wrong, and where in the user's own code. expect_refused() wants a
# message and the function of the call that it is reported for.

test_that("a number of daemons that is none is told by what it is", {
  for (f in list(daemons, make_cluster)) {
    name <- if (identical(f, daemons)) "daemons" else "make_cluster"
    f <- as.name(name)
    refused <- function(n, message) expect_refused(eval(as.call(list(f, n))), message, name)
    refused(NA, "`n` must be a whole number, not `NA`.")
    refused(NA_real_, "`n` must be a whole number, not `NA_real_`.")
    refused(c(1, 2), "`n` must be a whole number, not `c(1, 2)`.")
    refused(numeric(), "`n` must be a whole number, not `numeric(0)`.")
    refused(2.5, "`n` must be a whole number, not `2.5`.")
    refused(1e10, "`n` must be at most 2147483647, not `1e+10`.")
    refused(Inf, "`n` must be at most 2147483647, not `Inf`.")
    refused("2", "`n` must be numeric, did you mean to provide `url`?")
    refused(TRUE, "`n` must be numeric, did you mean to provide `url`?")
  }
  expect_refused(daemons(-1), "the number of daemons must be zero or greater", "daemons")
  expect_refused(make_cluster(0), "`n` must be 1 or greater", "make_cluster")
  expect_false(daemons_set())
  local_pool(url = local_url())
  # No `url` to suggest here.
  expect_refused(launch_local("a"), "`n` must be a whole number, not `\"a\"`.", "launch_local")
  expect_refused(launch_local(1.5), "`n` must be a whole number, not `1.5`.", "launch_local")
  expect_refused(launch_remote("a"), "`n` must be a whole number, not `\"a\"`.", "launch_remote")
})

test_that("an address that is none, or that nobody can listen at, is named", {
  expect_refused(daemons(url = "foo"), "3 | Invalid argument: `foo` is not", "daemons")
  expect_refused(make_cluster(1, url = "foo"), "3 | Invalid argument: `foo` is not", "make_cluster")
  expect_refused(daemon("foo"), "3 | Invalid argument: `foo` is not", "daemon")
  for (none in list(NA_character_, character())) {
    message <- sprintf("3 | Invalid argument: `url` must be an address, not `%s`.", deparse(none))
    expect_refused(daemons(url = none), message, "daemons")
    expect_refused(daemon(none), message, "daemon")
  }
  skip_on_os("windows")
  nowhere <- file.path(tempfile("nowhere"), "socket")
  expect_refused(daemons(url = paste0("ipc://", nowhere)), sprintf("12 | Entry not found: `ipc://%s`", nowhere), "daemons")
  expect_refused(daemon(paste0("ipc://", nowhere)), sprintf("6 | Connection refused: no host listens at `ipc://%s`", nowhere),
                 "daemon")
})

test_that("arguments that daemon() would refuse are refused before any daemon is started", {
  expect_refused(daemons(1, maxtasks = -1), "`maxtasks` must be a whole number of at least 0", "daemons")
  expect_refused(daemons(1, idletime = NA), "`idletime` must be a number of at least 0", "daemons")
  expect_refused(daemons(1, cleanup = NaN), "`cleanup` must be `TRUE` or `FALSE`, not `NaN`.", "daemons")
  expect_refused(daemons(1, output = NA), "`output` must be `TRUE` or `FALSE`, not `NA`.", "daemons")
  expect_false(daemons_set())
  local_pool(url = local_url())
  expect_refused(launch_local(1, walltime = -1), "`walltime` must be a number of at least 0", "launch_local")
})

test_that("a mistyped option of collecting is answered by those that there are", {
  local_pool(sync = TRUE)
  x <- mirai_map(c(a = 1, .b = 2), identity)
  options <- "unknown option `.flatt`: there are `.flat`, `.progress` and `.stop`."
  expect_refused(x[.flatt], options, "[.mirai_map")
  expect_refused(x[".flatt"], options, "[.mirai_map")
  expect_refused(x[.stop, .flatt], options, "[.mirai_map")
  expect_refused(collect_mirai(x, ".flatt"), options, "collect_mirai")
  expect_refused(x[".flat"], "an option is written without quotes: `x[.flat]`.", "[.mirai_map")
  expect_refused(x[.progress = TRUE], "collected by options: `.flat`, `.progress`, `.stop`", "[.mirai_map")
  expect_refused(x["c"], "subscript out of bounds", "[.mirai_map")
  # Names of elements and variables of the user's that begin with a dot.
  expect_identical(x[".b"][.flat], c(.b = 2))
  .at <- 2
  expect_identical(x[.at][.flat], c(.b = 2))
})

test_that("arguments that don't fit a mapped function are told by their names", {
  local_pool(sync = TRUE)
  said <- function(...) mirai_map(...)[[1]]$data$message
  expect_match(said(1, function(x) x, .args = list(kk = 1)), "(kk)", fixed = TRUE)
  expect_match(said(data.frame(a = 1, b = 2, c = 3), function(a) a), "(b, c)", fixed = TRUE)
  expect_match(said(data.frame(a = 1, b = 2), function(a) a, .args = list(kk = 1)), "(b, kk)", fixed = TRUE)
})

test_that("errors in arguments are reported for the user's call", {
  # Some versions of R report the function that looks for the variable, others that in whose call it stands.
  reported_for <- function(e) if (!is.null(conditionCall(e))) as.character(conditionCall(e)[[1L]])
  plain <- function(x) x
  by_r <- reported_for(tryCatch(plain(no_such_thing), error = identity))
  local_pool(1)
  x <- mirai_map(1, identity)
  absent <- function(expr, fun) {
    e <- tryCatch(expr, error = identity)
    expect_match(conditionMessage(e), "object 'no_such_thing' not found", fixed = TRUE)
    expect_identical(reported_for(e), if (identical(by_r, "plain")) fun else by_r)
  }
  absent(mirai(1, no_such_thing), "mirai")
  absent(mirai(1, .args = no_such_thing), "mirai")
  absent(mirai(1, .timeout = no_such_thing), "mirai")
  absent(mirai(1, .compute = no_such_thing), "mirai")
  absent(try_mirai(1, a = no_such_thing), "try_mirai")
  absent(try_mirai(1, .args = no_such_thing), "try_mirai")
  absent(everywhere(1, a = no_such_thing), "everywhere")
  absent(everywhere(1, .min = no_such_thing), "everywhere")
  absent(mirai_map(no_such_thing, identity), "mirai_map")
  absent(mirai_map(1, no_such_thing), "mirai_map")
  absent(mirai_map(1, identity, a = no_such_thing), "mirai_map")
  absent(mirai_map(1, identity, .args = no_such_thing), "mirai_map")
  absent(x[no_such_thing], "[.mirai_map")
  absent(collect_mirai(x, no_such_thing), "collect_mirai")
  absent(make_cluster(no_such_thing), "make_cluster")
  absent(daemon(no_such_thing), "daemon")
  absent(daemons(no_such_thing), "daemons")
})

test_that("arguments that are missing are missed in the user's call", {
  missed <- function(expr, name, fun) {
    e <- tryCatch(expr, error = identity)
    expect_match(conditionMessage(e), sprintf("argument \"%s\" is missing, with no default", name), fixed = TRUE)
    expect_identical(as.character(conditionCall(e)[[1L]]), fun)
  }
  missed(daemon(), "url", "daemon")
  missed(daemons(), "n", "daemons")
  missed(make_cluster(), "n", "make_cluster")
  missed(stop_cluster(), "cl", "stop_cluster")
  missed(nextget(), "x", "nextget")
  missed(nextcode(), "xc", "nextcode")
  missed(unresolved(), "x", "unresolved")
  missed(call_mirai(), "x", "call_mirai")
  missed(collect_mirai(), "x", "collect_mirai")
  missed(stop_mirai(), "x", "stop_mirai")
  missed(with_daemons(), ".compute", "with_daemons")
  missed(local_daemons(), ".compute", "local_daemons")
  missed(serial_config("a"), "sfunc", "serial_config")
  missed(register_serial("a", identity), "ufunc", "register_serial")
  expect_refused(remote_config(args = "a"), "`.` must be an element", "remote_config")
})
