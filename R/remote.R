# Daemons on other machines: the commands that start them there, and what carries these over.

# `args` holds the words that follow `command`; "." stands for the command that starts a daemon. A list of such vectors
# is one for each of several machines.
remote_config <- function(command = NULL, args = c("", "."), rscript = "Rscript", quote = FALSE) {
  call <- sys.call()
  check_words_of(list(command = command, args = args, rscript = rscript), call)
  quote <- check_flag(quote, "quote", call)
  list(command = command, args = args, rscript = rscript, quote = quote, tunnel = FALSE)
}

# Of a configuration.
check_words_of <- function(remote, call) {
  if (!is.null(remote$command) && !is_string(remote$command))
    abort(sprintf("`command` must be a string, or `NULL` to run nothing, not `%s`.", shown(remote$command)), call)
  if (!is_string(remote$rscript)) abort(sprintf("`rscript` must be a string, not `%s`.", shown(remote$rscript)), call)
  check_words(remote$args, call)
}

check_words <- function(args, call) {
  sets <- word_sets(args)
  if (!length(sets) || !all(vapply(sets, function(words) is.character(words) && "." %in% words, NA)))
    abort("`.` must be an element of the character vector(s) supplied to `args`", call)
}

word_sets <- function(args) if (is.list(args)) args else list(args)

launch_remote <- function(n = 1L, remote = remote_config(), ..., .compute = NULL) {
  call <- sys.call()
  if (inherits(n, c("miraiCluster", "miraiNode"))) {
    .compute <- n
    n <- if (inherits(n, "miraiCluster")) length(n) else 1L
  }
  pool <- pool_to_launch(.compute, call)
  check_remote(remote, call)
  arguments <- merged_arguments(pool, list(...), call)
  launched <- launch_by(remote, pool, remote_count(n, remote, call), arguments, call)
  if (is_http(remote)) invisible(launched) else launched
}

check_remote <- function(remote, call) {
  if (!is.list(remote) || !is_http(remote) && !all(c("args", "rscript") %in% names(remote)))
    abort(sprintf("`remote` must be a configuration such as `remote_config()` makes, not `%s`.", shown(remote)), call)
  if (is_http(remote)) return()
  # It may have been edited since.
  check_words_of(remote, call)
  if (!is.null(remote$quote)) check_flag(remote$quote, "quote", call)
  if (!is.null(remote$tunnel)) check_flag(remote$tunnel, "tunnel", call)
}

# How many daemons a launch starts. A configuration for several machines starts one on each, or, where it is for one,
# as many as are asked for. Without a number, as many as there are machines.
remote_count <- function(n, remote, call) {
  if (is_http(remote)) return(if (is.null(n)) 1L else check_count(n, call))
  machines <- length(word_sets(remote$args))
  if (is.null(n)) return(machines)
  n <- check_count(n, call)
  if (n == 1L || machines == n) return(machines)
  if (machines > 1L && n > 1L) abort("`n` must equal the length of `args`, or either must be 1", call)
  n
}

# The commands of `n` daemons, which are run, too, if the configuration has something to run them by. `is_awaited`: the caller
# waits for what comes of that, by the ticket in the attribute.
launch_by <- function(remote, pool, n, arguments, call, is_awaited = FALSE) {
  if (is_http(remote)) return(launch_by_http(remote, pool, n, arguments, call, is_awaited))
  if (n > 0L) check_command(remote$command, call)
  port <- if (isTRUE(remote$tunnel)) tunnel_port(pool, call)
  calls <- vapply(seq_len(n), function(i) pool_call(pool, arguments), "")
  ticket <- if (n > 0L && !is.null(remote$command))
    run_errands(pool, errands(remote, calls, port), errand_kind(remote), arguments, call, is_awaited)
  structure(daemon_commands(calls, remote$rscript), class = "miraiLaunchCmd", ticket = if (is_awaited) ticket)
}

daemon_commands <- function(calls, rscript) {
  sprintf("%s -e %s", rscript, vapply(calls, shQuote, "", USE.NAMES = FALSE))
}

# A call without the characters that some login shells take for something else between single quotes: csh ends there at the end
# of a line, and looks for an earlier command after an exclamation mark. They are in texts only, where R has other words for them.
portable <- function(calls) {
  calls <- gsub("\n", "\\n", calls, fixed = TRUE)
  gsub("'", "\\x27", gsub("!", "\\x21", calls, fixed = TRUE), fixed = TRUE)
}

# What is to be run: for each command its words, and how many daemons it starts. By a tunnel, all the daemons of a machine come
# in one session, as a port can be forwarded by one only.
errands <- function(remote, calls, port = NULL) {
  commands <- daemon_commands(portable(calls), remote$rscript)
  sets <- rep_len(word_sets(remote$args), length(commands))
  groups <- if (is.null(port)) seq_along(sets) else match(sets, unique(sets))
  lapply(split(seq_along(sets), groups), function(of) {
    command <- if (length(of) > 1L) paste(c(commands[of], "wait"), collapse = " & ") else commands[of]
    words <- words_with(sets[[of[1L]]], command, remote$quote)
    # A tunnel whose other side does not answer ends, as daemons and session only see that of their own side.
    if (!is.null(port)) words <- c(sprintf("-R %d:127.0.0.1:%d -o ServerAliveInterval=5", port, port), words)
    list(command = remote$command, words = words, count = length(of))
  })
}

tunnel_port <- function(pool, call) {
  if (!grepl("^[a-z+]+://127\\.0\\.0\\.1:[0-9]+(/|$)", pool$url))
    abort("SSH tunnelling requires daemons `url` hostname to be `127.0.0.1`", call)
  as.integer(sub("^.*:([0-9]+)(/.*)?$", "\\1", pool$url))
}

# Otherwise a shell would complain about it in the background, where nobody reads it.
check_command <- function(command, call) {
  if (is.null(command) || nzchar(Sys.which(command))) return()
  abort(sprintf("the command `%s`, by which `remote` starts daemons, is not found on this machine.", command), call)
}

# `quote`: whether the daemon's command travels as one word, as to another shell. `NULL`: it is a part of a script, which its
# other words make up with it.
words_with <- function(words, command, quote) {
  words[words == "."] <- if (isTRUE(quote)) shQuote(command) else command
  if (is.null(quote)) c("-c", shQuote(paste(words, collapse = ""))) else words
}

# In the background: the command of a daemon may last as long as the daemon. Library paths relative to the folder that R was
# started in lead nowhere from another one, so the daemon is told those of this session. A ticket to wait with.
run_errands <- function(pool, errands, kind, arguments, call, is_awaited) {
  if (has_relative_libraries()) {
    old <- Sys.getenv("R_LIBS", NA)
    on.exit(if (is.na(old)) Sys.unsetenv("R_LIBS") else Sys.setenv(R_LIBS = old))
    Sys.setenv(R_LIBS = paste(.libPaths(), collapse = .Platform$path.sep))
  }
  # Windows has no shell to count on.
  if (.Platform$OS.type == "windows") {
    for (errand in errands) system2(errand$command, errand$words, wait = FALSE)
    return(NULL)
  }
  line <- function(errand) paste(c(shQuote(errand$command), errand$words), collapse = " ")
  lines <- vapply(errands, line, "", USE.NAMES = FALSE)
  counts <- vapply(errands, function(errand) as.numeric(errand$count), 0, USE.NAMES = FALSE)
  at_end <- as.logical(autoexit_code(arguments[["autoexit"]] %or% TRUE, call))
  pool$runs_commands <- TRUE
  checked(.Call(wrap__run_errands, pool$hub, lines, counts, kind, isTRUE(arguments$output), at_end, is_awaited), call)
}

# What commands are: sessions that last as long as their daemons, so that nobody comes any more once they are over; submissions to a
# scheduler, whose output names jobs of ours; or others, of which nothing is known.
errand_kind <- function(remote) {
  program <- basename(remote$command)
  if (grepl("ssh", program, fixed = TRUE) || program %in% c("Rscript", "R", "srun", "qrsh") || is_mere_shell(remote)) "session"
  else if (is.null(remote$quote) || program %in% c("sbatch", "qsub", "bsub")) "submission"
  else "other"
}

# Whether a shell runs the command of a daemon, and nothing else.
is_mere_shell <- function(remote) {
  is_mere <- function(words) identical(words[words != ""], c("-c", "."))
  basename(remote$command) %in% c("sh", "bash", "dash", "ksh", "zsh") && all(vapply(word_sets(remote$args), is_mere, NA))
}

has_relative_libraries <- function() {
  paths <- strsplit(Sys.getenv(c("R_LIBS", "R_LIBS_USER", "R_LIBS_SITE")), .Platform$path.sep, fixed = TRUE)
  !all(grepl("^([/\\\\~%]|[A-Za-z]:|NULL$)", unlist(paths)))
}

print.miraiLaunchCmd <- function(x, ...) {
  cat(sprintf("[%d]\n%s\n\n", seq_along(x), unclass(x)), sep = "")
  invisible(x)
}
