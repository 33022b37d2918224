# What a pool is at.

info_names <- c("connections", "cumulative", "awaiting", "executing", "completed")

info <- function(.compute = NULL) {
  pool <- find_pool(.compute, sys.call())
  if (is.null(pool)) return(NULL)
  counts <- if (pool$sync) integer(5L) else rust(.Call(wrap__hub_info, pool$hub))
  names(counts) <- info_names
  if (!pool$dispatcher) counts[-1L] <- NA
  counts
}

status <- function(.compute = NULL) {
  pool <- find_pool(.compute, sys.call())
  if (is.null(pool)) return(list(connections = 0L, daemons = 0L))
  if (pool$sync) return(list(connections = 0L, daemons = pool$url))
  counts <- rust(.Call(wrap__hub_info, pool$hub))
  names(counts) <- info_names
  result <- list(connections = counts[[1L]], daemons = pool$url)
  if (!pool$dispatcher) return(result)
  memory <- rust(.Call(wrap__hub_memory, pool$hub)) / 1e6
  names(memory) <- c("used", "peak", "capacity")
  c(result, list(mirai = counts[3:5], memory = memory))
}
