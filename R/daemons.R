# daemons(): setting, replacing and resetting the pool of a profile.

daemons <- function(n, url = NULL, remote = NULL, dispatcher = TRUE, ..., sync = FALSE, seed = NULL, memory = NULL,
                    serial = NULL, tls = NULL, pass = NULL, .compute = NULL, token = NULL, retries = 0L, heal = NULL,
                    runtime = NULL, kill_after = NULL) {
  if (is_starting()) return(refuse_daemons())
  call <- sys.call()
  name <- profile_name(.compute, call)
  sync <- check_flag(sync, "sync", call)
  if (sync) {
    pool <- new_sync_pool(name, check_seed(seed, call), call)
    close_pool(name)
    add_pool(name, pool)
    if (!is.null(session$tracer)) trace_set(pool)
    return(invisible(structure(TRUE, class = c("miraiDaemons", name))))
  }
  access <- check_access(tls, pass, token, call)
  remotes <- 0L
  if (is.null(url)) {
    n <- if (!is.null(n)) check_count(n, call, no_number)
    if (is.null(n) || n == 0L) {
      close_pool(name, exit = is.null(n))
      return(invisible(FALSE))
    }
    if (!is.null(remote)) warn("`remote` needs `url`, by which its daemons find this session, so it is ignored", call)
    if (is_in_map()) abort("cannot create local daemons from within mirai map", call)
    url <- local_url()
  } else {
    url <- check_pool_url(url, call)
    if (!is.null(remote)) {
      check_remote(remote, call)
      remotes <- remote_count(if (missing(n)) NULL else n, remote, call)
    }
    n <- 0L
  }
  dispatcher <- check_flag(dispatcher, "dispatcher", call)
  arguments <- daemon_arguments(list(...), call)
  capacity <- check_memory(memory, call)
  if (!dispatcher && !is.null(memory)) warn("`memory` needs dispatcher, so it is ignored", call)
  serial <- pool_serial(serial, dispatcher, call)
  seed <- check_seed(seed, call)
  retries <- check_retries(retries, "retries", call)
  heal <- check_heal(heal, is_own = n > 0L && dispatcher, can_launch = n > 0L || remotes > 0L && can_run(remote), call)
  runtime <- if (!is.null(runtime)) check_runtime(runtime, "runtime", call)
  kill_after <- check_kill_after(kill_after, !isFALSE(heal), dispatcher, arguments, call)
  budget <- if (!isFALSE(heal)) check_budget(call)

  pool <- open_pool(name, url, n, dispatcher, arguments, seed, capacity, serial, access, kill_after, call)
  if (retries > 0L) pool$retries <- retries
  pool$runtime <- runtime
  if (n > 0L) outcome <- start_daemons(pool, n, call)
  if (!isFALSE(heal)) heal_pool(pool, if (n > 0L) outcome$connected else remotes, heal, remote, budget, call)
  if (remotes > 0L) start_remotely(pool, remotes, remote, call)
  if (!isFALSE(heal)) checked(.Call(wrap__hub_heal_begin, pool$hub), call)
  if (!is.null(session$tracer)) trace_set(pool)
  # At the end, as a handler may leave by these.
  if (n > 0L && outcome$failed > 0L)
    warn(sprintf("only %d of %d daemons started.\n%s", outcome$connected, n, launch_report(outcome)), call)
  warn_of_open_pool(pool, access)
  warn_of_token_variable(pool, access)
  invisible(structure(TRUE, class = c("miraiDaemons", name)))
}

# The new hub is opened before the old one goes, so that a call that fails leaves the old one in place; except for the
# same address, which only one can have.
open_pool <- function(name, url, n, dispatcher, arguments, seed, capacity, serial, access, kill_after, call) {
  old <- profiles[[name]]
  if (!is.null(old) && any(pool_urls(old) %in% url)) close_pool(name)
  stream <- base_stream(seed)
  hub <- checked(
    .Call(wrap__hub_open, url, if (dispatcher) "queue" else "direct", if (dispatcher) capacity,
          daemon_stream(stream, dispatcher, seed), serial, access$tls, access$pass, access$token, access$times, n > 0L,
          kill_after, if (name == "default") "" else name),
    call
  )
  tlscert <- shown_by_daemons(hub, arguments$tlscert, call)
  arguments$tlscert <- NULL
  close_pool(name)
  urls <- checked(.Call(wrap__hub_urls, hub))
  pool <- new_pool(name, urls, if (n > 0L) n else 1L, dispatcher, seed, stream, hub, arguments, serial, tlscert)
  add_pool(name, pool)
  pool
}

# Launches local daemons and waits for them: what has become of them. Nothing is left behind when that fails, or is interrupted.
start_daemons <- function(pool, n, call) {
  started <- FALSE
  on.exit(if (!started) close_pool(pool$name))
  ticket <- launch_daemons(pool, n, pool$arguments, call, is_awaited = TRUE)
  outcome <- wait_for_daemons(pool, n, ticket, call)
  if (outcome$connected == 0L) abort(paste("daemons could not be started.", launch_report(outcome), sep = "\n"), call)
  started <- TRUE
  outcome
}

# The pool goes where none can be launched.
start_remotely <- function(pool, n, remote, call) {
  started <- FALSE
  on.exit(if (!started) close_pool(pool$name))
  ticket <- attr(launch_by(remote, pool, n, pool$arguments, call, is_awaited = TRUE), "ticket")
  pool$n <- n
  if (!is.null(ticket)) report_remotely(pool, n, ticket, call)
  started <- TRUE
}

# Waits, not for long, until each has come, has failed or is in the hands of a scheduler, and says how many came.
report_remotely <- function(pool, n, ticket, call) {
  outcome <- checked(.Call(wrap__errands_wait, pool$hub, ticket, 10), call)
  if (outcome$failed >= n) abort(paste("daemons could not be started.", launch_report(outcome), sep = "\n"), call)
  if (outcome$failed > 0L)
    warn(sprintf("only %d of %d daemons could be launched.\n%s", n - outcome$failed, n, launch_report(outcome)), call)
  message(sprintf("mirai: %d launched, %d connected so far", n - outcome$failed, outcome$connected))
}

# It is said every ten seconds that there is still something to wait for.
wait_for_daemons <- function(pool, n, ticket, call) {
  step <- 10L
  elapsed <- 0L
  repeat {
    outcome <- checked(.Call(wrap__hub_wait_connected, pool$hub, n, ticket, step), call)
    if (outcome$connected + outcome$failed >= n) return(outcome)
    elapsed <- elapsed + step
    message(sprintf("mirai: initial sync with daemon(s) [%d secs elapsed]", elapsed))
  }
}

launch_report <- function(outcome) {
  paste0(outcome$reason, if (nzchar(outcome$command)) paste0("\nThe command was: ", outcome$command))
}

# ---- random numbers

# A seed is whatever set.seed() takes.
check_seed <- function(seed, call) {
  if (is.null(seed)) return(NULL)
  number <- suppressWarnings(if (is.numeric(seed) && length(seed)) as.integer(seed[1L]) else NA)
  if (is.na(number)) abort(sprintf("`seed` must be an integer, not `%s`.", shown(seed)), call)
  number
}

# The first stream of a pool. The host's generator moves on by one draw, and is otherwise left as it was.
base_stream <- function(seed) {
  stats::rexp(1L)
  state <- globalenv()[[".Random.seed"]]
  on.exit(assign(".Random.seed", state, envir = globalenv()))
  RNGkind("L'Ecuyer-CMRG")
  if (!is.null(seed)) set.seed(seed)
  globalenv()[[".Random.seed"]]
}

# The first one of the streams that the hub hands out to daemons as they connect. With a seed, tasks have their own
# streams, S1, S2, ... : daemons get sub-streams of these, which no task reaches. Direct daemons without a seed are
# launched with theirs; those that come by other ways keep their own random numbers.
daemon_stream <- function(stream, dispatcher, seed) {
  if (!is.null(seed)) return(parallel::nextRNGSubStream(stream))
  if (dispatcher) checked(.Call(wrap__next_rng_stream, stream))
}

print.miraiDaemons <- function(x, ...) {
  print(as.logical(unclass(x)))
  invisible(x)
}
