# The one registry of compute profiles: name -> pool, an environment with
#   sync (evaluated in this process, see sync.R), hub (native), name, url, n, dispatcher, arguments (of daemon()), serial, seed, stream (the next RNG stream), seeded,
#   bridge (to nanonext, see nanonext.R, if that was asked for).

profiles <- new.env()

# State of this session: the current profile, the hub of ephemeral daemons, its state as a daemon.
session <- new.env()

reset_session <- function() {
  session$profile <- "default"
  # How often pools, the current profile and what is registered for serialization have been set.
  session$changes <- 0L
  session$ephemeral <- NULL
  session$on_daemon <- FALSE
  session$in_map <- FALSE
  session$in_sync <- FALSE
  session$registered <- NULL
  session$serial <- NULL
  session$streamed <- FALSE
  session$to_be_daemon <- is_daemon_command(commandArgs())
  session$told_starting <- FALSE
  session$told_open <- FALSE
  session$told_unset <- NULL
  session$told_no_bridge <- FALSE
  # Those of pools that have closed, with answers under way.
  session$bridges <- NULL
  session$on_loop <- FALSE
  session$trust <- NULL
  session$workbench_cookie <- NULL
  session$output <- FALSE
}

# The name of a profile; NULL is the current one.
profile_name <- function(.compute, call = sys.call(-1L)) {
  if (is.null(.compute)) return(session$profile)
  if (inherits(.compute, c("miraiCluster", "miraiNode"))) return(attr(.compute, "id"))
  if (!is_string(.compute)) abort(sprintf("`.compute` must be a string, not `%s`.", shown(.compute)), call)
  if (Encoding(.compute) == "bytes") abort("`.compute` must be text, not a string of bytes.", call)
  # R has no longer names.
  if (nchar(.compute, "bytes") > 10000L) abort("`.compute` must be a string of at most 10,000 bytes.", call)
  .compute
}

# The pool of a profile, or NULL if it has none.
find_pool <- function(.compute, call = sys.call(-1L)) profiles[[profile_name(.compute, call)]]

new_pool <- function(hub, name, n, dispatcher, arguments, seed, stream) {
  pool <- new.env(parent = emptyenv())
  pool$sync <- FALSE
  pool$hub <- hub
  pool$name <- name
  urls <- checked(.Call(wrap__hub_urls, hub))
  pool$url <- urls[1L]
  pool$local_url <- if (length(urls) > 1L) urls[2L]
  pool$n <- n
  pool$dispatcher <- dispatcher
  pool$arguments <- arguments
  pool$seed <- seed
  pool$seeded <- !is.null(seed)
  pool$stream <- stream
  pool
}

# All the addresses that it listens at.
pool_urls <- function(pool) c(pool$url, pool$local_url)

add_pool <- function(name, pool) {
  profiles[[name]] <- pool
  session$changes <- session$changes + 1L
}

# The next unused stream of a pool, which moves on.
take_stream <- function(pool) {
  stream <- pool$stream
  pool$stream <- checked(.Call(wrap__next_rng_stream, stream))
  stream
}

close_pool <- function(name, exit = FALSE) {
  pool <- profiles[[name]]
  if (is.null(pool)) return(invisible())
  rm(list = name, envir = profiles)
  if (!pool$sync) close_hub(pool$hub, exit)
  if (!is.null(pool$bridge)) keep_bridge(pool$bridge)
  if (!is.null(pool$span)) trace_reset(pool)
  invisible()
}

# In a forked child of the session a pool is the parent's: for the child it is enough to forget it.
close_hub <- function(hub, exit) {
  closed <- .Call(wrap__hub_close, hub, exit)
  if (!inherits(closed, "mirai_failure") || closed$kind != "forked") checked(closed)
}

daemons_set <- function(.compute = NULL) !is.null(find_pool(.compute))

require_daemons <- function(.compute = NULL, call = environment()) {
  if (!is.null(find_pool(.compute, sys.call()))) return(invisible(TRUE))
  raise_no_daemons(.compute, call)
}

# `call`: the frame that the error is reported for.
raise_no_daemons <- function(.compute, call) {
  code <- if (is.null(.compute)) "mirai::daemons(6)" else sprintf("mirai::daemons(6, .compute = \"%s\")", .compute)
  problem <- if (is.null(.compute)) "No daemons set." else
    sprintf("No daemons set for the '%s' compute profile.", .compute)
  if (has_cli()) {
    cli::cli_abort(c("{problem}", "Use e.g. {.run {code}} to set 6 local daemons."), call = call)
  }
  stop(simpleError(sprintf("%s\nUse e.g. %s to set 6 local daemons.", problem, code)))
}

# cli makes errors by means of rlang, which it does not bring along itself.
has_cli <- function() requireNamespace("cli", quietly = TRUE) && requireNamespace("rlang", quietly = TRUE)

with_daemons <- function(.compute, expr) {
  if (missing(.compute)) absent(".compute")
  name <- profile_name(.compute)
  if (is.null(profiles[[name]])) raise_no_daemons(.compute, environment())
  previous <- session$profile
  on.exit(session$profile <- previous)
  session$profile <- name
  expr
}

local_daemons <- function(.compute, frame = parent.frame()) {
  if (missing(.compute)) absent(".compute")
  name <- profile_name(.compute)
  if (is.null(profiles[[name]])) raise_no_daemons(.compute, environment())
  previous <- session$profile
  session$profile <- name
  session$changes <- session$changes + 1L
  # There is no exit from top level, so there it stays.
  if (!identical(frame, globalenv())) {
    restore <- function() session$profile <- previous
    do.call(base::on.exit, list(as.call(list(restore)), TRUE, FALSE), envir = frame)
  }
  invisible()
}

with.miraiDaemons <- function(data, expr, ...) {
  name <- class(data)[2L]
  if (is.null(profiles[[name]])) raise_no_daemons(name, environment())
  previous <- session$profile
  on.exit({
    session$profile <- previous
    close_pool(name)
  })
  session$profile <- name
  expr
}
