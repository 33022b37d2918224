# mirai at a prompt: in R's own console, and in programs that embed R as IDEs do, each in a pseudo-terminal.

skip_on_os("windows")

# The program that embeds R and provides terminals, compiled once.
front <- local({
  file <- NULL
  function() {
    if (!is.null(file)) return(file)
    lib <- R.home("lib")
    skip_if_not(any(file.exists(file.path(lib, c("libR.so", "libR.dylib")))), "needs R built as a shared library")
    config <- function(what) system2(file.path(R.home("bin"), "R"), c("CMD", "config", what), stdout = TRUE)
    compiler <- paste(config("CC"), config("--cppflags"))
    skip_if_not(nzchar(Sys.which(sub(" .*", "", compiler))), "needs a C compiler for a program that embeds R")
    target <- tempfile("front")
    log <- suppressWarnings(system(
      paste(compiler, "-o", shQuote(target), test_path("embedded", "front.c"), paste0("-L", shQuote(lib)), "-lR 2>&1"),
      intern = TRUE
    ))
    skip_if_not(file.exists(target), paste(c("a program that embeds R cannot be built here:", log), collapse = "\n"))
    file <<- target
  }
})

# A session in a terminal, to be typed at. What is typed is not echoed, so what is awaited was said by R.
local_terminal <- function(command, frame = parent.frame()) {
  log <- tempfile("terminal")
  file.create(log)
  env <- c(child_env(), paste0("R_HOME=", R.home()), paste0("LD_LIBRARY_PATH=", R.home("lib"), ":", Sys.getenv("LD_LIBRARY_PATH")),
           "R_TESTS=", "TERM=dumb")
  con <- pipe(paste(paste(shQuote(c("env", env, front(), "pty", command)), collapse = " "), ">", shQuote(log), "2>&1"), "wb")
  send <- function(bytes) {
    writeBin(bytes, con)
    flush(con)
  }
  says <- function(text) {
    await(any(grepl(text, readLines(log, warn = FALSE), fixed = TRUE)))
    succeed()
  }
  type <- function(...) send(charToRaw(paste0(c(...), "\n", collapse = "")))
  pid <- NULL
  close_terminal <- function() {
    if (is.null(con)) return()
    if (!is.null(pid) && alive(pid)) tools::pskill(pid, tools::SIGKILL)
    close(con)
    con <<- NULL
  }
  defer(close_terminal(), frame)
  type("cat('pid', Sys.getpid(), '\\n')")
  says("pid ")
  pid <- as.integer(sub(".*pid ([0-9]+).*", "\\1", grep("pid [0-9]+ ", readLines(log, warn = FALSE), value = TRUE)[1L]))
  list(
    pid = pid,
    type = type,
    says = says,
    # Waits in a call; then the next line is read although what it waits for has not come.
    interrupt = function(expr, mark) {
      type(sprintf("{cat('<%s>\\n'); %s}", mark, expr))
      says(sprintf("<%s>", mark))
      send(as.raw(3L))
    },
    log = function() readLines(log, warn = FALSE)
  )
}

consoles <- list(
  `R's own console` = function() c(file.path(R.home("bin"), "R"), "--quiet", "--no-save", "--no-restore", "--no-init-file",
                                   "--no-readline", "--interactive"),
  `a console that embeds R` = function() c(front(), "r"),
  `an IDE that embeds R and handles interrupts itself` = function() c(front(), "ide")
)

for (console in names(consoles)) {
  test_that(paste("Ctrl-C returns to the prompt, and tasks go on:", console), {
    front()
    terminal <- local_terminal(consoles[[console]]())
    gate <- tempfile("gate")
    terminal$type(
      "library(mirai); daemons(2)",
      sprintf("gate <- '%s'", gate),
      "held <- function(x, gate) {while (!file.exists(gate)) Sys.sleep(0.005); x}",
      "m <- mirai(held('kept', gate), held = held, gate = gate)",
      "x <- mirai_map(1:2, held, .args = list(gate = gate))"
    )
    terminal$interrupt("m[]", "value")
    terminal$type("cat('after value', unresolved(m), '\\n')")
    terminal$says("after value TRUE")
    terminal$interrupt("x[]", "map")
    terminal$type("cat('after map', unresolved(x), '\\n')")
    terminal$says("after map TRUE")

    terminal$type("daemons(url = local_url(), memory = 0.001, .compute = 'full')",
                  "first <- mirai(length(x), x = raw(5000), .compute = 'full')")
    terminal$interrupt("mirai('refused', .compute = 'full')", "blocked")
    terminal$type("cat('after blocked', info('full')[['awaiting']], '\\n')")
    terminal$says("after blocked 1")
    terminal$type("invisible(launch_local(1, .compute = 'full'))",
                  "cat('room again', first[], mirai('taken', .compute = 'full')[], '\\n')")
    terminal$says("room again 5000 taken")

    file.create(gate)
    terminal$type("cat('results', m[], x[.flat], '\\n')")
    terminal$says("results kept 1 2")
    terminal$type("cat('daemons', info()[c('connections', 'cumulative')], '\\n')")
    terminal$says("daemons 2 2")
    terminal$type("cat('at work', sum(mirai_map(1:10, function(i) i)[.flat]), '\\n')")
    terminal$says("at work 55")
    terminal$type("q('no')")
    expect_true(await(!alive(terminal$pid)))
  })

  test_that(paste("promises resolve while the prompt is idle:", console), {
    skip_if_not_installed("promises")
    skip_if_not_installed("later")
    front()
    terminal <- local_terminal(consoles[[console]]())
    gates <- tempfile(c("value", "error", "map"))
    terminal$type(
      "library(mirai); daemons(1)",
      "held <- function(x, gate) {while (!file.exists(gate)) Sys.sleep(0.005); if (is.character(x)) stop(x); x}",
      "on <- function(word) function(x) cat(word, if (inherits(x, 'condition')) conditionMessage(x) else unlist(x), '\\n')",
      "wait <- function(p) invisible(promises::then(p, on('fulfilled'), on('rejected')))",
      sprintf("wait(mirai(held(1, gate), held = held, gate = '%s'))", gates[1L]),
      sprintf("wait(mirai(held('on purpose', gate), held = held, gate = '%s'))", gates[2L]),
      sprintf("wait(mirai_map(2:4, held, .args = list(gate = '%s')))", gates[3L]),
      "cat('all', 'typed\\n')"
    )
    terminal$says("all typed")
    # From here on nothing is typed.
    file.create(gates[1L])
    terminal$says("fulfilled 1")
    file.create(gates[2L])
    terminal$says("rejected")
    terminal$says("on purpose")
    file.create(gates[3L])
    terminal$says("fulfilled 2 3 4")
    terminal$type("cat('prompt', 'still there\\n')")
    terminal$says("prompt still there")
    terminal$type("q('no')")
    expect_true(await(!alive(terminal$pid)))
  })
}
