# Compute profiles: which one is meant, and their pools.

# Name -> pool.
profiles <- new.env()

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

# A pool: an environment with all that is known of it. `hub` is native, and NULL where tasks are evaluated in this process (see
# sync.R); `n` the number of daemons asked for; `stream` the next random stream of tasks.
new_pool <- function(name, urls, n, dispatcher, seed, stream, hub = NULL, arguments = list(), serial = NULL, tlscert = NULL) {
  list2env(list(
    name = name,
    hub = hub,
    sync = is.null(hub),
    url = urls[1L],
    # The other address of one that listens at two.
    local_url = if (length(urls) > 1L) urls[2L],
    n = n,
    dispatcher = dispatcher,
    # Of daemon(), and what daemons show besides.
    arguments = arguments,
    tlscert = tlscert,
    serial = serial,
    seed = seed,
    seeded = !is.null(seed),
    stream = stream,
    # How often a task may be tried again; NULL for never.
    retries = NULL,
    # For how many milliseconds one may run; NULL for no limit.
    runtime = NULL,
    # Which daemons are replaced, see check_heal(); where R code launches them what by, and which of several machines is next; what the
    # native side has R know the pool by.
    heal = FALSE,
    remote = NULL,
    key = NULL,
    turn = 0L,
    # Whether commands of the user's were to bring daemons.
    runs_commands = FALSE,
    # To nanonext, see nanonext.R, and the span of daemons(), see otel.R; if these were asked for.
    bridge = NULL,
    span = NULL,
    # Deaths and replacements that have been traced, by their numbers.
    traced = list(deaths = integer(), replacements = integer()),
    # The global variables of tasks in this process.
    globals = list(),
    # Of a cluster, see cluster.R.
    nodes = NULL,
    launches = NULL
  ), parent = emptyenv())
}

# All the addresses that it listens at.
pool_urls <- function(pool) c(pool$url, pool$local_url)

add_pool <- function(name, pool) {
  profiles[[name]] <- pool
  note_change()
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
  if (!is.null(pool$span)) safely(trace_pool_changes(pool))
  if (!pool$sync) close_hub(pool$hub, exit)
  if (!is.null(pool$bridge)) keep_bridge(pool$bridge)
  if (!is.null(pool$span)) trace_reset(pool)
  if (pool$runs_commands) await_launched_commands()
  invisible()
}

# Commands that have brought no daemon yet are ended, and jobs that have not begun taken back, by a thread. A scheduler that does
# not answer is not waited for.
await_launched_commands <- function() checked(.Call(wrap__errands_settle, 5))

# As the session ends. Whether the pools' hubs have been closed by then is for R to choose.
close_pools_at_exit <- function(profiles) {
  runs_commands <- Filter(function(name) isTRUE(profiles[[name]]$runs_commands), names(profiles))
  for (name in runs_commands) safely(close_pool(name))
  safely(await_launched_commands())
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
  previous <- use_profile(name)
  on.exit(use_profile(previous))
  expr
}

local_daemons <- function(.compute, frame = parent.frame()) {
  if (missing(.compute)) absent(".compute")
  name <- profile_name(.compute)
  if (is.null(profiles[[name]])) raise_no_daemons(.compute, environment())
  previous <- use_profile(name)
  note_change()
  # There is no exit from top level, so there it stays.
  if (!identical(frame, globalenv())) {
    restore <- function() use_profile(previous)
    do.call(base::on.exit, list(as.call(list(restore)), TRUE, FALSE), envir = frame)
  }
  invisible()
}

with.miraiDaemons <- function(data, expr, ...) {
  name <- class(data)[2L]
  if (is.null(profiles[[name]])) raise_no_daemons(name, environment())
  previous <- use_profile(name)
  on.exit({
    use_profile(previous)
    close_pool(name)
  })
  expr
}
