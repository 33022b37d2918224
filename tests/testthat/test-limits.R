# The limits of open files, and of how large they may be: ours to keep to, and not to change for others.

skip_within_check()

# Runs R code in a process with this limit, and returns its output. Lines start with the name of what they say.
run_limited <- function(limit, code, env = character()) {
  script <- tempfile("limited", fileext = ".R")
  writeLines(c("library(mirai)", "say <- function(name, ...) cat(name, ..., '\\n')", code), script)
  command <- sprintf("ulimit %s && exec %s %s", limit, shQuote(rscript), shQuote(script))
  suppressWarnings(system2("sh", c("-c", shQuote(command)), stdout = TRUE, stderr = TRUE, env = child_env(env), timeout = 100))
}

# Opens profiles until there is no descriptor left for another, nor for a daemon.
fill <- c(
  "open_profile <- function(i) tryCatch(daemons(url = local_url(), .compute = paste0('p', i)), error = conditionMessage)",
  "fill <- function(n = 0) {while (isTRUE(r <- open_profile(n + 1))) n <- n + 1; list(n = n, refused = r)}",
  "clear <- function(n) for (i in seq_len(n)) daemons(0, .compute = paste0('p', i))"
)

test_that("the limit of open files stays what it was, for this session and all that it and its tasks start", {
  skip_unless_linux()
  hard <- suppressWarnings(as.integer(system("ulimit -Hn", intern = TRUE)))
  skip_if_not(is.na(hard) || hard > 2000L, "needs a hard limit that is above the soft one")
  out <- run_limited("-Sn 1024", c(
    "limit <- function(...) system('ulimit -n', intern = TRUE, ...)",
    "daemons(1)",
    "say('one', limit(), limit(timeout = 10), mirai(system('ulimit -n', intern = TRUE))[])",
    "daemons(40)",
    "say('many', status()$connections, limit())",
    "say('tasks', unlist(unique(mirai_map(1:80, function(i) system('ulimit -n', intern = TRUE))[])))",
    "invisible(launch_local(10))",
    "say('meanwhile', unique(replicate(100, limit())))",
    "daemons(0)",
    "say('after', limit())"
  ))
  expect_match(out, "^one 1024 1024 1024 $", all = FALSE)
  expect_match(out, "^many 40 1024 $", all = FALSE)
  expect_match(out, "^tasks 1024 $", all = FALSE)
  expect_match(out, "^meanwhile 1024 $", all = FALSE)
  expect_match(out, "^after 1024 $", all = FALSE)
})

test_that("more daemons than there are descriptors for are refused before any starts", {
  skip_unless_linux()
  out <- run_limited("-n 300", c(
    "say('daemons', tryCatch(daemons(100), error = conditionMessage), status()$connections)",
    "say('fewer', daemons(2), mirai(1 + 1)[])",
    "say('launch_local', tryCatch(launch_local(100), error = conditionMessage), status()$connections)"
  ))
  refused <- "21 | Out of files: each daemon takes 3 of the 300 files that this session may have open at a time (`ulimit -n`)"
  expect_true(any(startsWith(out, paste("daemons", refused))))
  expect_match(out, "start R under a higher limit 0 $", all = FALSE)
  expect_match(out, "^fewer TRUE 2", all = FALSE)
  expect_true(any(startsWith(out, paste("launch_local", refused))))
  expect_match(out, "start R under a higher limit 2 $", all = FALSE)
})

test_that("a pool of as many daemons as there are descriptors for can be had, and replaced", {
  skip_unless_linux()
  out <- run_limited("-n 200", c(
    "refused <- tryCatch(daemons(1000), error = conditionMessage)",
    # Less what the fork server takes, which is there the second time.
    "n <- as.integer(sub('.*room for ([0-9]+) more.*', '\\\\1', refused)) - 2L",
    "say('first', n > 20, daemons(n), status()$connections == n)",
    "say('second', daemons(n), status()$connections == n, mirai(1 + 1)[])"
  ))
  expect_match(out, "^first TRUE TRUE TRUE $", all = FALSE)
  expect_match(out, "^second TRUE TRUE 2 $", all = FALSE)
})

test_that("profiles that there are no descriptors for are refused by name, and the others go on", {
  skip_unless_linux()
  out <- run_limited("-n 200", c(
    fill,
    "daemons(1)",
    "filled <- fill()",
    "say('filled', filled$n > 0)",
    "say('refused', filled$refused)",
    "say('then', mirai('a value')[], system('echo started', intern = TRUE))",
    "clear(1)",
    "say('again', open_profile(1))"
  ))
  expect_match(out, "^filled TRUE", all = FALSE)
  expect_match(out, "^refused 21 \\| Out of files: of the 200 files that this session may have open", all = FALSE)
  expect_match(out, "^then a value started", all = FALSE)
  expect_match(out, "^again TRUE", all = FALSE)
})

test_that("a host without descriptors for one more daemon tells it so, and says what has become of those it has launched", {
  skip_unless_linux()
  # Daemons start when the gate is open, and the host at once.
  gate <- tempfile("gate")
  profile <- tempfile("profile")
  writeLines("if (nzchar(Sys.getenv('GATE'))) while (!file.exists(Sys.getenv('GATE'))) Sys.sleep(0.01)", profile)
  out <- run_limited("-n 200", c(
    fill,
    "daemons(url = local_url())",
    sprintf("Sys.setenv(GATE = '%s')", gate),
    "launch_local(1)",
    "n <- fill()$n",
    sprintf("invisible(file.create('%s'))", gate),
    "rscript <- file.path(R.home('bin'), 'Rscript')",
    "code <- sprintf('mirai::daemon(\"%s\")', status()$daemons)",
    "told <- suppressWarnings(system2(rscript, c('-e', shQuote(code)), stdout = TRUE, stderr = TRUE))",
    "say('told', told)",
    "while (nrow(suppressWarnings(status())$failed) == 0L) Sys.sleep(0.01)",
    "say('failed', status()$failed$count, status()$failed$reason)",
    "clear(n)",
    "launch_local(1)",
    "say('then', mirai('a value')[])"
  ), env = paste0("R_PROFILE_USER=", profile))
  expect_match(out, "^told .*21 \\| Out of files: the host", all = FALSE)
  expect_match(out, "^failed 1 21 \\| Out of files: of the 200 files that this session may have open", all = FALSE)
  expect_match(out, "^then a value", all = FALSE)
})

test_that("daemons start where files may not be large", {
  skip_unless_linux()
  # In units of 512 or 1,024 bytes.
  out <- run_limited("-f 2000", "say('task', daemons(2), mirai(1 + 1)[])")
  expect_match(out, "^task TRUE 2", all = FALSE)
})
