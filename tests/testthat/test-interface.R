# What the package shows of itself: names, signatures, methods, requirements.

# Signatures as the contract has them; ours may go on with further arguments. `.compute` of
# nextget() and nextstream() means the current profile.
signatures <- list(
  call_mirai = function(x) NULL,
  cluster_config = function(command = "sbatch", options = "", rscript = "Rscript") NULL,
  collect_mirai = function(x, options = NULL) NULL,
  daemon = function(url, dispatcher = TRUE, ..., asyncdial = FALSE, autoexit = TRUE, cleanup = TRUE, output = FALSE,
                    idletime = Inf, walltime = Inf, maxtasks = Inf, tlscert = NULL, rs = NULL) NULL,
  daemons = function(n, url = NULL, remote = NULL, dispatcher = TRUE, ..., sync = FALSE, seed = NULL, memory = NULL,
                     serial = NULL, tls = NULL, pass = NULL, .compute = NULL) NULL,
  daemons_set = function(.compute = NULL) NULL,
  everywhere = function(.expr, ..., .args = list(), .min = 1L, .compute = NULL) NULL,
  host_url = function(tls = FALSE, port = 0) NULL,
  http_config = function(url = posit_workbench_url, method = "POST", headers = posit_workbench_headers, data = posit_workbench_data, ...,
                         cookie = NULL, token = NULL) NULL,
  info = function(.compute = NULL) NULL,
  is_error_value = function(x) NULL,
  is_mirai = function(x) NULL,
  is_mirai_error = function(x) NULL,
  is_mirai_interrupt = function(x) NULL,
  is_mirai_map = function(x) NULL,
  launch_local = function(n = 1L, ..., .compute = NULL) NULL,
  launch_remote = function(n = 1L, remote = remote_config(), ..., .compute = NULL) NULL,
  local_daemons = function(.compute, frame = parent.frame()) NULL,
  local_url = function(tcp = FALSE, port = 0) NULL,
  make_cluster = function(n, url = NULL, remote = NULL, ...) NULL,
  mirai = function(.expr, ..., .args = list(), .timeout = NULL, .compute = NULL) NULL,
  mirai_map = function(.x, .f, ..., .args = list(), .promise = NULL, .compute = NULL) NULL,
  nextcode = function(xc) NULL,
  nextget = function(x, .compute = NULL) NULL,
  nextstream = function(.compute = NULL) NULL,
  on_daemon = function() NULL,
  race_mirai = function(x, .compute = NULL) NULL,
  register_serial = function(class, sfunc, ufunc) NULL,
  remote_config = function(command = NULL, args = c("", "."), rscript = "Rscript", quote = FALSE) NULL,
  require_daemons = function(.compute = NULL, call = environment()) NULL,
  serial_config = function(class, sfunc, ufunc) NULL,
  ssh_config = function(remotes, tunnel = FALSE, timeout = 10, command = "ssh", rscript = "Rscript") NULL,
  status = function(.compute = NULL) NULL,
  stop_cluster = function(cl) NULL,
  stop_mirai = function(x) NULL,
  try_mirai = function(.expr, ..., .args = list(), .timeout = NULL, .compute = NULL) NULL,
  unresolved = function(x) NULL,
  with_daemons = function(.compute, expr) NULL
)

test_that("functions have their arguments, in their order, with their defaults", {
  for (name in names(signatures)) {
    expected <- as.list(formals(signatures[[name]]))
    ours <- as.list(formals(getExportedValue("mirai", name)))
    expect_identical(ours[seq_along(expected)], expected, label = name)
  }
})

test_that("the options of collecting are exported", {
  expect_true(all(c(".flat", ".progress", ".stop") %in% getNamespaceExports("mirai")))
})

test_that("arguments before ... may be abbreviated, those after it may not", {
  url <- local_url()
  local_pool(u = url, disp = FALSE)
  expect_identical(status()$daemons, url)
  expect_identical(info()[["cumulative"]], NA_integer_)
  expect_warning(daemons(url = url, seeds = 1), "`seeds`")
  expect_null(nextget("seed"))
})

test_that("printing writes to standard output and returns its argument invisibly", {
  d <- local_pool(1)
  held <- hold()
  held$started()
  error <- mirai(stop("x"), .compute = "default")
  objects <- list(
    d, held$m, held$m$data, mirai_map(list(), identity), mirai(1, .timeout = 0)$data,
    structure("", class = c("miraiInterrupt", "errorValue", "try-error"))
  )
  held$open()
  objects <- c(objects, list(error[]))
  for (x in objects) {
    printed <- utils::capture.output(returned <- withVisible(print(x)))
    expect_identical(returned, list(value = x, visible = FALSE))
    expect_length(printed, 1L)
  }
})

test_that("what is not part of R is optional, and dependants find the version they ask for", {
  description <- utils::packageDescription("mirai")
  expect_null(description$Imports)
  expect_null(description$LinkingTo)
  expect_identical(gsub("[[:space:]]", "", description$Depends), "R(>=4.1)")
  expect_true(utils::packageVersion("mirai") >= "2.5.1")
})

test_that("numbers that are none of what is asked for are refused, whichever function they are given to", {
  local_pool(url = local_url(), .compute = "numbers")
  into <- function(fun, argument, ...) function(x) do.call(fun, c(list(...), structure(list(x), names = argument)), quote = TRUE)
  counts <- list(
    n = into("daemons", "n"), n = into("launch_local", "n", .compute = "numbers"), n = into("launch_remote", "n", .compute = "numbers"),
    n = into("make_cluster", "n"), .min = into("everywhere", ".min", 1, .compute = "numbers"),
    port = into("local_url", "port", TRUE), maxtasks = into("daemons", "maxtasks", 1), maxtasks = into("daemon", "maxtasks", local_url()),
    xc = into("nextcode", "xc")
  )
  limits <- list(
    idletime = into("daemon", "idletime", local_url()), walltime = into("daemon", "walltime", local_url()),
    idletime = into("daemons", "idletime", 1), walltime = into("daemons", "walltime", 1), memory = into("daemons", "memory", 1),
    .timeout = into("mirai", ".timeout", 1), .timeout = into("mirai_map", ".timeout", 1, identity, .compute = "numbers"),
    .timeout = into("everywhere", ".timeout", 1, .compute = "numbers")
  )
  refused <- function(calls, values) for (i in seq_along(calls)) for (x in values)
    expect_error(calls[[i]](x), sprintf("`%s` must be|number of daemons must be", names(calls)[i]), info = paste(names(calls)[i], deparse(x)))
  refused(c(counts, limits), list(NA, NA_real_, NaN))
  refused(counts, list(2.5, -0.5))
  # An exit code may be any whole number.
  refused(c(counts[names(counts) != "xc"], limits), list(-1, -Inf))
  expect_false(daemons_set())
})
