# What may go wrong around a host: interrupts, start-up files that fail, full disks and process tables, forks, garbage.

skip_within_check()

test_that("Ctrl-C while waiting leaves the task running and the session usable", {
  skip_on_os("windows")
  gate <- tempfile()
  waits <- c("m[]", "collect_mirai(list(m))", "call_mirai(m)", "race_mirai(list(m))", "collect_mirai(list(m), '.stop')",
             "invisible(utils::capture.output(collect_mirai(list(m), '.progress'), type = 'message'))")
  code <- c(
    "library(mirai)",
    "daemons(1)",
    sprintf("m <- mirai({while (!file.exists('%s')) Sys.sleep(0.005); 'done'})", gate),
    sprintf("r <- tryCatch({cat('waiting', %d, '\\n'); %s}, interrupt = function(e) 'interrupted'); cat(%d, r, '\\n')",
            seq_along(waits), waits, seq_along(waits)),
    "cat('pending', unresolved(m), '\\n')",
    sprintf("invisible(file.create('%s'))", gate),
    "cat('then', m[], mirai('next')[], '\\n')"
  )
  child <- spawn(code)
  for (i in seq_along(waits)) {
    await(any(grepl(sprintf("waiting %d", i), child$log())))
    tools::pskill(child$pid, tools::SIGINT)
    await(any(grepl(sprintf("^%d ", i), child$log())))
  }
  out <- child$wait()
  expect_identical(sum(grepl("^[0-9] interrupted", out)), length(waits))
  expect_match(out, "pending TRUE", all = FALSE)
  expect_match(out, "then done next", all = FALSE)
})

test_that("on.exit and calling handlers run at an interrupt", {
  skip_on_os("windows")
  code <- c(
    "library(mirai)",
    "daemons(1)",
    "m <- mirai(Sys.sleep(600))",
    "f <- function() {on.exit(cat('left\\n')); withCallingHandlers({cat('waiting\\n'); m[]}, interrupt = function(e) cat('told\\n'))}",
    "tryCatch(f(), interrupt = function(e) cat('caught\\n'))"
  )
  child <- spawn(code)
  await("waiting" %in% child$log())
  tools::pskill(child$pid, tools::SIGINT)
  out <- child$wait()
  expect_identical(out[out %in% c("told", "left", "caught")], c("told", "left", "caught"))
})

test_that("daemons() can be interrupted while it waits, and leaves nothing", {
  skip_on_os("windows")
  profile <- tempfile()
  gate <- tempfile()
  here <- tempfile()
  writeLines(sprintf("file.create('%s'); while (file.exists('%s')) Sys.sleep(0.01)", here, gate), profile)
  code <- c(
    sprintf("Sys.setenv(R_PROFILE_USER = '%s'); invisible(file.create('%s'))", profile, gate),
    "library(mirai)",
    "tryCatch(daemons(1), interrupt = function(e) cat('interrupted\\n'))",
    "cat('set', daemons_set(), '\\n')",
    sprintf("invisible(file.remove('%s'))", gate)
  )
  child <- spawn(code)
  await(file.exists(here))
  tools::pskill(child$pid, tools::SIGINT)
  expect_match(child$wait(), "interrupted", all = FALSE)
  expect_match(child$log(), "set FALSE", all = FALSE)
})

test_that("daemons() works again after one that hung in a start-up file and was interrupted", {
  skip_unless_linux()
  profile <- tempfile()
  here <- tempfile()
  writeLines(c(
    sprintf("writeLines(as.character(Sys.getpid()), '%s.new'); invisible(file.rename('%s.new', '%s'))", here, here, here),
    "repeat Sys.sleep(0.01)"
  ), profile)
  child <- spawn(c(
    sprintf("Sys.setenv(R_PROFILE_USER = '%s')", profile),
    "library(mirai)",
    "tryCatch(daemons(1), interrupt = function(e) cat('interrupted\\n'))",
    sprintf("writeLines('', '%s')", profile),
    "daemons(1)",
    "cat('value', mirai(6 * 7)[], '\\n')"
  ))
  await(file.exists(here))
  hanging <- as.integer(readLines(here))
  tools::pskill(child$pid, tools::SIGINT)
  await(!alive(hanging))
  expect_match(child$wait(), "value 42", all = FALSE)
})

test_that("daemons that are slow to start are waited for, with a message every ten seconds", {
  frame <- environment()
  profile <- tempfile()
  gate <- tempfile()
  writeLines(sprintf("while (file.exists('%s')) Sys.sleep(0.01)", gate), profile)
  code <- function(call) c(
    sprintf("Sys.setenv(R_PROFILE_USER = '%s')", profile), "library(mirai)", "cat('waiting\\n')", call,
    "cat('connected', info()[['connections']], '\\n')"
  )
  file.create(gate)
  defer(unlink(gate))
  message <- "mirai: initial sync with daemon(s) [10 secs elapsed]"
  sessions <- lapply(c("daemons(1)", "daemons(1, dispatcher = FALSE)"), function(call) spawn(code(call), frame = frame))
  for (session in sessions) await(message %in% session$log(), 120)
  file.remove(gate)
  for (session in sessions) {
    expect_identical(session$wait()[1:2], c("waiting", message))
    expect_match(session$log(), "connected 1", all = FALSE)
  }
})

test_that("the terminal's Ctrl-C does not reach local daemons", {
  skip_unless_linux()
  local_pool(1)
  group <- function(pid) as.integer(strsplit(sub(".*\\) ", "", readLines(sprintf("/proc/%d/stat", pid))), " ")[[1L]][3L])
  expect_false(group(daemon_pids()) == group(Sys.getpid()))
})

test_that("a failing start-up file makes daemons() fail at once, saying why", {
  profile <- tempfile()
  writeLines("stop('bad start of everything')", profile)
  out <- run_r(c(
    sprintf("Sys.setenv(R_PROFILE_USER = '%s')", profile),
    "library(mirai)",
    "e <- tryCatch(daemons(2), error = identity)",
    "cat(class(e), '\\n'); cat(conditionMessage(e), '\\n'); print(conditionCall(e)); cat('set', daemons_set(), '\\n')"
  ))
  expect_match(out, "simpleError", all = FALSE)
  expect_match(out, "bad start of everything", all = FALSE)
  expect_match(out, "The command was: .*mirai", all = FALSE)
  expect_match(out, "daemons(2)", fixed = TRUE, all = FALSE)
  expect_match(out, "set FALSE", all = FALSE)
})

test_that("a start-up file that quits makes daemons() fail too", {
  profile <- tempfile()
  writeLines("quit('no', status = 3)", profile)
  out <- run_r(c(
    sprintf("Sys.setenv(R_PROFILE_USER = '%s')", profile),
    "e <- tryCatch(mirai::daemons(1), error = identity)",
    "cat(class(e), '\\n')"
  ))
  expect_match(out, "simpleError", all = FALSE)
})

test_that("a payload that a daemon cannot read is an error of that task alone", {
  skip_on_os("windows")
  skip_unless_linux()
  url <- local_url()
  local_pool(url = url)
  # A daemon with little stack, and a value nested as deeply as only a larger one can bear.
  script <- sprintf("ulimit -s 1024; exec '%s' -e 'mirai::daemon(\"%s\")'", rscript, url)
  system2("sh", c("-c", shQuote(script)), wait = FALSE, env = child_env(), stdout = FALSE, stderr = FALSE)
  pid <- value(mirai(Sys.getpid()))
  deep <- NULL
  for (i in 1:10000) deep <- list(deep)
  e <- value(mirai(length(x), x = deep))
  expect_s3_class(e, "miraiError")
  expect_match(as.character(e), "C stack usage", fixed = TRUE)
  expect_identical(value(mirai(Sys.getpid())), pid)
})

test_that("a value nested more deeply than this session has stack for is an error here, not its end", {
  skip_on_os("windows")
  skip_unless_linux()
  skip_if(is.na(Cstack_info()[["size"]]), "no limit of the stack here")
  url <- local_url()
  local_pool(url = url)
  script <- sprintf("ulimit -s unlimited && exec '%s' -e 'mirai::daemon(\"%s\")'", rscript, url)
  if (system2("sh", c("-c", shQuote("ulimit -s unlimited")), stderr = FALSE) != 0L) skip("the stack is limited here for good")
  system2("sh", c("-c", shQuote(script)), wait = FALSE, env = child_env(), stdout = FALSE, stderr = FALSE)
  m <- mirai({ deep <- NULL; for (i in 1:n) deep <- list(deep); deep }, n = Cstack_info()[["size"]] / 50)
  await(!unresolved(m))
  # Handlers of expect_error() would run with the little stack that is left.
  for (read in list(quote(m[]), quote(m$data))) {
    e <- tryCatch(eval(read), error = identity)
    expect_match(conditionMessage(e), "C stack usage", fixed = TRUE)
  }
  expect_identical(value(mirai("fine")), "fine")
})

test_that("mirai in a forked child of the host says why it cannot work", {
  skip_on_os("windows")
  local_pool(1)
  m <- mirai("of the parent")
  child <- parallel::mcparallel({
    attempt <- function(expr) tryCatch(expr, error = conditionMessage)
    list(attempt(mirai(1)), attempt(info()), attempt(m[]), attempt(daemons(0)))
  })
  said <- parallel::mccollect(child)[[1L]]
  for (text in said[1:3]) expect_match(text, "fork")
  expect_identical(value(m), "of the parent")
  expect_identical(value(mirai("still works")), "still works")
})

test_that("a forked child may exit without harm to its parent", {
  skip_on_os("windows")
  local_pool(1)
  expect_identical(parallel::mclapply(1:2, function(i) i, mc.cores = 2), list(1L, 2L))
  expect_identical(value(mirai("fine")), "fine")
})

test_that("garbage at the hub's socket is dropped and harms nothing", {
  skip_unless_linux()
  perl <- Sys.which("perl")
  skip_if(!nzchar(perl), "needs perl to speak to a Unix socket")
  local_pool(1)
  m <- hold()
  m$started()
  name <- sub("^abstract://", "", nextget("url"))
  script <- paste(
    "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die;",
    "connect($s, pack('S', AF_UNIX) . \"\\0\" . $ARGV[0]) or die \"no: $!\";",
    "$SIG{PIPE} = 'IGNORE'; syswrite($s, chr($_ * 7 % 256) x 100) for 1..200; shutdown($s, 1);",
    "1 while sysread($s, my $b, 1000); print \"done\\n\";"
  )
  for (i in 1:3) expect_identical(system2(perl, c("-e", shQuote(script), name), stdout = TRUE), "done")
  expect_identical(info()[["connections"]], 1L)
  m$open()
  expect_identical(value(m$m), "held")
  expect_identical(value(mirai("fine")), "fine")
})

# A folder in memory with room for little, until the end of the test.
small_disk <- function(options, frame = parent.frame()) {
  skip_unless_linux()
  skip_if_not(Sys.info()[["user"]] == "root", "needs root to mount a small tmpfs")
  small <- tempfile("small")
  dir.create(small)
  mount <- c("-t", "tmpfs", "-o", options, "tmpfs", shQuote(small))
  skip_if_not(system2("mount", mount, stdout = FALSE, stderr = FALSE) == 0L, "a tmpfs cannot be mounted here")
  defer(system2("umount", c("-l", shQuote(small))), frame)
  small
}

test_that("a disk that fills up does not matter to daemons that run", {
  small <- small_disk("size=64k")
  out <- run_r(c(
    "library(mirai)",
    sprintf("Sys.setenv(TMPDIR = '%s')", small),
    "daemons(1)",
    "cat('folder', startsWith(mirai(tempdir())[], Sys.getenv('TMPDIR')), '\\n')",
    sprintf("f <- file('%s/fill', 'wb'); try(writeBin(raw(1e6), f), silent = TRUE); try(close(f), silent = TRUE)", small),
    "cat('value', mirai(6 * 7)[], '\\n')"
  ))
  expect_match(out, "^folder TRUE", all = FALSE)
  expect_match(out, "^value 42", all = FALSE)
})

test_that("a full disk where R has its temporary folder is an error of daemons(), not a hang", {
  refused <- function(folder) run_r(c(
    "library(mirai)",
    sprintf("Sys.setenv(TMPDIR = '%s', TMP = '%s', TEMP = '%s')", folder, folder, folder),
    "e <- tryCatch(daemons(1), error = identity)",
    "cat('outcome', class(e), '\\n'); cat(conditionMessage(e), '\\n'); cat('set', daemons_set(), '\\n')"
  ))
  no_blocks <- small_disk("size=64k")
  suppressWarnings(try(writeBin(raw(1e6), file.path(no_blocks, "fill")), silent = TRUE))
  out <- refused(no_blocks)
  expect_match(out, "^outcome simpleError", all = FALSE)
  expect_match(out, "full disk", all = FALSE)
  expect_match(out, "^set FALSE", all = FALSE)

  no_files <- small_disk("nr_inodes=2")
  file.create(file.path(no_files, "fill"))
  out <- refused(no_files)
  expect_match(out, "^outcome simpleError", all = FALSE)
  expect_match(out, "temporary file", all = FALSE)
  expect_match(out, "^set FALSE", all = FALSE)
})

test_that("an exhausted process table is an error, not a hang", {
  skip_unless_linux()
  tools <- all(nzchar(Sys.which(c("setpriv", "prlimit", "timeout"))))
  skip_if_not(Sys.info()[["user"]] == "root" && tools, "needs root, setpriv and prlimit for a user with few processes")
  folder <- tempfile("unprivileged")
  dir.create(folder)
  Sys.chmod(c(folder, tempdir()), "777")
  # The user fills its own table, then asks for daemons. It is a user with no other processes, of an earlier run least of all.
  user <- 60000L + Sys.getpid() %% 5000L
  writeLines(c(
    "library(mirai)",
    "left <- 40",
    "while (left > 0 && system('sleep 30 >/dev/null 2>&1 &', ignore.stderr = TRUE) == 0) left <- left - 1",
    "r <- tryCatch(withCallingHandlers({daemons(2); 'started'}, warning = function(w) invokeRestart('muffleWarning')),",
    "              error = function(e) paste('refused:', conditionMessage(e)))",
    "cat('outcome', r, '\\n')"
  ), file.path(folder, "script.R"))
  words <- c("60", "prlimit", "--nproc=12", "setpriv", paste0("--reuid=", user), "--clear-groups",
             rscript, file.path(folder, "script.R"))
  out <- suppressWarnings(system2("timeout", shQuote(words), stdout = TRUE, stderr = TRUE,
                                  env = child_env("HOME=/nonexistent", paste0("TMPDIR=", folder))))
  expect_false(identical(attr(out, "status"), 124L))
  skip_if_not(any(grepl("^outcome", out)), paste("R does not start here:", paste(out, collapse = " ")))
  expect_match(out, "^outcome refused:", all = FALSE)
})

test_that("a forked child of the session may set daemons of its own, at once, and the parent keeps its own", {
  skip_on_os("windows")
  local_pool(1)
  child <- parallel::mcparallel({
    daemons(1)
    first <- mirai(Sys.getpid())[]
    daemons(0)
    first
  })
  theirs <- parallel::mccollect(child)[[1L]]
  expect_type(theirs, "integer")
  expect_false(identical(value(mirai(Sys.getpid())), theirs))
})

# ---- without /proc

test_that("without /proc daemons are started by Rscript", {
  out <- run_r(c(
    "library(mirai)",
    "daemons(2)",
    "cat('connected', info()[['connections']], '\\n')",
    "cat('tasks', unlist(mirai_map(1:4, function(i) i)[]), '\\n')",
    "daemons(0)",
    "cat('ephemeral', mirai('fine')[], '\\n')"
  ), within = without_proc())
  expect_identical(out, c("connected 2 ", "tasks 1 2 3 4 ", "ephemeral fine "))
})

test_that("interrupting daemons() ends those that Rscript has started and that have not come", {
  profile <- tempfile()
  here <- tempfile()
  writeLines(c(
    "if (any(grepl('mirai::daemon', commandArgs()))) {",
    sprintf("  writeLines(as.character(Sys.getpid()), '%s.new'); invisible(file.rename('%s.new', '%s'))", here, here, here),
    "  repeat Sys.sleep(0.01)",
    "}"
  ), profile)
  child <- spawn(c(
    sprintf("Sys.setenv(R_PROFILE_USER = '%s')", profile),
    "library(mirai)",
    "tryCatch(daemons(1), interrupt = function(e) cat('interrupted\\n'))",
    "Sys.unsetenv('R_PROFILE_USER')",
    "daemons(1)",
    "cat('value', mirai(6 * 7)[], '\\n')"
  ), within = without_proc())
  await(file.exists(here))
  hanging <- as.integer(readLines(here))
  tools::pskill(child$pid, tools::SIGINT)
  await(!alive(hanging))
  expect_identical(child$wait(), c("interrupted", "value 42 "))
})
