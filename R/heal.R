# Pools that heal: which daemons are replaced, and how. When is decided by the native side.
#
# The daemons of a pool with dispatcher on this machine are launched by a thread of that. All others by R code, as the session
# comes by: they take functions of the user's, or random streams.

# Which daemons are replaced: none (`FALSE`), those that die (`TRUE`), or those that leave as well (`"all"`). `is_own`: daemons of
# this machine, with dispatcher.
check_heal <- function(heal, is_own, can_launch, call) {
  if (is.null(heal)) return(is_own)
  if (!identical(heal, "all") && !is_flag(heal))
    abort(sprintf("`heal` must be `TRUE`, `FALSE` or \"all\", not `%s`.", shown(heal)), call)
  if (!isFALSE(heal) && !can_launch)
    abort("`heal` needs something to launch daemons by: `n` without `url`, or `remote` with a command or a service.", call)
  heal
}

can_run <- function(remote) is_http(remote) || !is.null(remote$command)

# How many daemons may be launched within an hour where they may cost something; NULL for twice as many as there should be.
check_budget <- function(call) {
  budget <- getOption("mirai.heal_budget")
  if (!is.null(budget) && (!is.numeric(budget) || length(budget) != 1L || is.na(budget) || budget < 0))
    abort(sprintf("`options(mirai.heal_budget = )` must be a number of at least 0, not `%s`.", shown(budget)), call)
  budget
}

# Daemons are to be replaced, so that there are `n` again, once that begins. The pool goes where that cannot be.
heal_pool <- function(pool, n, heal, remote, budget, call) {
  done <- FALSE
  on.exit(if (!done) close_pool(pool$name))
  pool$heal <- heal
  pool$key <- paste(unique_number(), pool$name)
  is_own <- is.null(remote) && pool$dispatcher
  if (!is_own) {
    pool$remote <- remote
    if (is.null(budget)) budget <- 2 * n
  }
  command <- if (is_own) pool_call(pool, pool$arguments, is_local = TRUE)
  checked(.Call(wrap__hub_heal, pool$hub, n, command, .libPaths(), getNamespaceInfo(topenv(), "path"), pool$key,
                identical(heal, "all"), if (!is_own && is.finite(budget)) budget, replay_limit(call)), call)
  done <- TRUE
}

# How much of what everywhere() has set up is kept for replacements: bytes, and number of calls. The option is in MB.
replay_limit <- function(call) {
  limit <- getOption("mirai.replay", c(64, 100))
  if (!is.numeric(limit) || length(limit) != 2L || anyNA(limit) || any(limit < 0))
    abort(sprintf("`options(mirai.replay = )` must be two numbers, megabytes and calls, not `%s`.", shown(limit)), call)
  pmin(limit * c(1e6, 1), 1e15)
}

unique_number <- function() session$healed <- session$healed + 1L

# Called by the native side: a pool is missing so many daemons. It may have been replaced meanwhile.
relaunch <- function(key, count) {
  pool <- pool_of_key(key)
  if (is.null(pool)) return()
  why <- "its launch was interrupted"
  # An interrupt may come in functions of the user's, too.
  on.exit(suspendInterrupts({
    .Call(wrap__hub_relaunching, pool$hub, FALSE)
    .Call(wrap__hub_not_relaunched, pool$hub, count, why)
  }))
  checked(.Call(wrap__hub_relaunching, pool$hub, TRUE))
  # What fails in there is told once, by the reason; here is no caller that it concerns.
  tryCatch(suppressWarnings(
    while (count > 0L) {
      # Of several requests some may have been made when one is interrupted.
      n <- if (is_http(pool$remote)) 1L else count
      launch_missing(pool, n)
      count <- count - n
    }
  ), error = function(e) why <<- conditionMessage(e))
}

pool_of_key <- function(key) {
  pool <- profiles[[sub("^[0-9]+ ", "", key)]]
  if (identical(pool$key, key)) pool
}

launch_missing <- function(pool, count) {
  remote <- pool$remote
  if (is.null(remote)) return(launch_daemons(pool, count, pool$arguments, NULL, is_awaited = TRUE))
  sets <- word_sets(remote$args)
  if (length(sets) > 1L) remote$args <- sets[machines_of_the_dead(pool, sets, count)]
  launch_by(remote, pool, count, pool$arguments, NULL)
}

# Whether a name stands somewhere in the words, and not within another one, as `node1` does in `node10`.
names_host <- function(words, host) {
  pattern <- paste0("(^|[^A-Za-z0-9-])\\Q", host, "\\E($|[^A-Za-z0-9-])")
  any(grepl(pattern, words, perl = TRUE))
}

# Of a configuration for several machines those on which the last daemons have died, where their names say so, else one after the
# other.
machines_of_the_dead <- function(pool, sets, count) {
  hosts <- rep_len(c(rev(death_table(pool)$host), NA_character_), count)
  at <- vapply(hosts, function(host)
    if (is.na(host)) NA_integer_ else match(TRUE, vapply(sets, names_host, NA, host)), 0L, USE.NAMES = FALSE)
  others <- which(is.na(at))
  at[others] <- (pool$turn + seq_along(others) - 1L) %% length(sets) + 1L
  pool$turn <- pool$turn + length(others)
  at
}
