# What nanonext sees of our tasks. Packages above look at a mirai by nanonext's functions, whose C code looks for an object
# of nanonext's in the variable `aio`, and wait on a condition variable of nanonext's that is signalled as tasks end. Once
# somebody has asked for that, each task of the pool has a request of a socket of nanonext's, which is answered when the task
# has settled (native, shadows.rs): nanonext resolves its own object and signals. Nothing of it exists before.
#
# A bridge is an environment with process, socket, cv (nanonext's), answers (native) and requests, the list of those that may be
# open, which is looked through when it has `limit` elements.

# The condition variable, signalled once for each task of the pool that has ended; NULL where there is none.
pool_condition <- function(pool) {
  if (pool$sync || !requireNamespace("nanonext", quietly = TRUE)) return(NULL)
  if (is.null(pool$bridge)) {
    bridge <- tryCatch(open_bridge(), error = tell_no_bridge)
    if (is.null(bridge)) return(NULL)
    pool$bridge <- bridge
    catch_up(pool)
  }
  pool$bridge$cv
}

# Once in a session.
tell_no_bridge <- function(e) {
  if (is_first("no bridge")) message("mirai: nanonext cannot be told of tasks that end: ", conditionMessage(e))
  NULL
}

open_bridge <- function() {
  bridge <- new.env(parent = emptyenv())
  bridge$process <- Sys.getpid()
  # Who asks nanonext for the value is told that this is not the way.
  reply <- serialize(structure(9L, class = c("errorValue", "try-error")), NULL)
  bridge$answers <- checked(.Call(wrap__shadows_open, checked(.Call(wrap__local_url_name)), tempdir(), reply))
  url <- checked(.Call(wrap__shadows_url, bridge$answers))
  bridge$socket <- nanonext::`opt<-`(nanonext::socket("req", dial = url, autostart = NA), "req:resend-time", 0L)
  bridge$cv <- nanonext::cv()
  bridge$requests <- list()
  bridge$limit <- 1000L
  check_bridge(bridge)
  bridge
}

# Sees that nanonext does with its object in one of ours what it is expected to do. Nobody's task is number 0. The answer is
# read by one object alone, as it goes then. nanonext signals a moment before it takes its object for resolved.
check_bridge <- function(bridge) {
  request <- ask(bridge, raw(8L), 10000L)
  ours <- new.env(hash = FALSE, parent = emptyenv())
  makeActiveBinding("data", function(value) NULL, ours)
  assign("aio", .subset2(request, "aio"), envir = ours)
  known <- typeof(ours$aio) == "externalptr" && nanonext::until(bridge$cv, 10000L) &&
    identical(as.integer(nanonext::call_aio(ours)$value), 9L) && !nanonext::unresolved(ours) && !nanonext::.unresolved(request)
  if (!isTRUE(known)) stop("this version of nanonext is not known")
}

# A request, which needs a context of its own.
ask <- function(bridge, body, timeout = NULL) {
  request <- nanonext::request(nanonext::context(bridge$socket), body, send_mode = "raw", timeout = timeout, cv = bridge$cv)
  if (!is.environment(request)) stop("a request could not be made")
  request
}

# `value` is nanonext's to define: it takes an object that has one for resolved.
shadow <- function(m, bridge) {
  request <- ask(bridge, checked(.Call(wrap__shadows_expect, bridge$answers, m)))
  rm("value", envir = m)
  assign("aio", .subset2(request, "aio"), envir = m)
  if (length(bridge$requests) >= bridge$limit) {
    drop_answered(bridge)
    bridge$limit <- max(1000L, 2L * length(bridge$requests))
  }
  bridge$requests[[length(bridge$requests) + 1L]] <- request
}

# Whoever has learnt from us that a task is over is not told otherwise by nanonext, which learns it a moment later. In a forked
# child nobody would tell it.
settle_shadow <- function(m) {
  bridge <- attr(attr(m, "task", TRUE), "bridge", TRUE)
  if (!is.null(bridge) && bridge$process == Sys.getpid() && !is_open(m)) nanonext::call_aio_(m)
}

# The same for a mirai or those of a list.
settle_shadows <- function(x) {
  if (isNamespaceLoaded("nanonext")) for (m in if (is.list(x)) unclass(x) else list(x)) settle_shadow(m)
}

# The tasks that were there before the bridge. None is submitted meanwhile, but some may end.
catch_up <- function(pool) {
  submitted <- sum(checked(.Call(wrap__hub_info, pool$hub))[3:5])
  open <- Filter(Negate(is.null), unlist(checked(.Call(wrap__hub_open_mirai, pool$hub)), recursive = FALSE))
  for (m in open) {
    task <- attr(m, "task", TRUE)
    # An external pointer is not copied for that.
    attr(task, "bridge") <- pool$bridge
    shadow(m, pool$bridge)
  }
  for (i in seq_len(submitted - length(open))) nanonext::cv_signal(pool$bridge$cv)
}

drop_answered <- function(bridge) bridge$requests <- Filter(nanonext::.unresolved, bridge$requests)

open_requests <- function(bridge) as.integer(nanonext::.unresolved(bridge$requests))

# Counts of tasks as nanonext's objects have them: one that nanonext does not take for resolved yet is executing. Requests are
# counted first, so that none of them ends in between.
shadowed_counts <- function(pool) {
  open <- open_requests(pool$bridge)
  counts <- checked(.Call(wrap__hub_info, pool$hub))
  late <- max(0L, open - counts[[3L]] - counts[[4L]])
  counts[4:5] <- counts[4:5] + c(late, -late)
  counts
}

# The tasks of a pool that has closed are over, but the answers may be under way.
keep_bridge <- function(bridge) {
  kept <- c(session$bridges, list(bridge))
  session$bridges <- Filter(function(bridge) open_requests(bridge) > 0L, kept)
}
