# Which pool workers in containers are for, and how they come to it.

# The pool of this session that workers are for: that of `.compute`, or else one that listens at `port`, or the current one. NULL
# if it has none: workers may come before their pool, and the pool may be another session's.
pool_of_workers <- function(port, .compute, call) {
  if (!is.null(.compute)) {
    pool <- pool_to_launch(.compute, call)
    if (is.null(pool_port(pool)))
      abort("workers in containers need a pool that listens on a network, as `daemons(url = host_url())` makes one.", call)
    return(pool)
  }
  pools <- c(list(find_pool(NULL, call)), lapply(ls(profiles, all.names = TRUE), function(name) profiles[[name]]))
  fits <- function(pool) {
    at <- if (!is.null(pool)) pool_port(pool)
    !is.null(at) && (is.null(port) || identical(as.numeric(port), as.numeric(at)))
  }
  if (is.null(port)) pools <- pools[1L]
  Find(fits, pools)
}

network_url <- "^(tcp|tls\\+tcp|ws|wss)://.*:([0-9]+)(/.*)?$"

# The port of a pool on a network, or NULL.
pool_port <- function(pool) {
  if (!pool$sync && grepl(network_url, pool$url)) as.integer(sub(network_url, "\\2", pool$url))
}

# What workers need beside the address: the kind of connection, and what they are to show and to trust.
workers_approach <- function(pool, service, call) {
  path <- sub(network_url, "\\3", pool$url)
  if (!path %in% c("", "/"))
    abort(sprintf("workers in containers come to addresses without a path, and this pool listens at \"%s\".", pool$url), call)
  scheme <- sub(network_url, "\\1", pool$url)
  credentials <- pool_credentials(pool, call)
  # Its own plain text can be had by anyone; the token of the environment is in the API's settings as well.
  if (is_secret(credentials) && !service$is_private) {
    if (!is_token_alone(credentials) || !nzchar(Sys.getenv("MIRAI_TOKEN"))) abort(paste0(
      "what the workers of this pool have to show is a secret, which is not sent to ", service$url, " as anybody on the way ",
      "could read it. Give the API a certificate and `api` as a URL with https://; or set the environment variable MIRAI_TOKEN ",
      "in the settings of the API and here, with `daemons(token = TRUE)` and, for TLS, certificates of your own."
    ), call)
    credentials <- NULL
  }
  c(if (scheme != "tcp") list(scheme = scheme), if (!is.null(credentials)) list(credentials = credentials))
}

# What they are called with besides: what the pool's daemons are.
workers_arguments <- function(pool, dots, call) {
  given <- daemon_arguments(dots, call)
  if (!is.null(given$tlscert))
    abort("workers in containers show what their pool has: `tlscert` is an argument of `daemons()` for them.", call)
  arguments <- c(if (!is.null(pool) && !pool$dispatcher) list(dispatcher = FALSE), pool$arguments)
  arguments[names(given)] <- given
  # There is no number for it in JSON, and it is what no limit is anyway.
  Filter(function(x) !identical(as.numeric(x), Inf), arguments)
}

# As one text: that of the file, if a file was named.
pool_credentials <- function(pool, call) {
  given <- pool$tlscert
  if (is.null(given)) return(NULL)
  if (length(given) > 1L && nzchar(given[2L]))
    abort("workers in containers cannot be given a list of revoked certificates.", call)
  if (length(given) > 1L) return(given[1L])
  if (!file.exists(given))
    abort(sprintf("%s: there is no file \"%s\", which is the `tlscert` of the pool.", coded(12L), given), call)
  paste0(readLines(given, warn = FALSE), "\n", collapse = "")
}

is_secret <- function(pem) !is.null(pem) && grepl("-----BEGIN ([A-Z ]*PRIVATE KEY|MIRAI TOKEN)-----", pem)

is_token_alone <- function(pem) !grepl("-----BEGIN (?!MIRAI TOKEN)", pem, perl = TRUE)
