# Over a network: addresses of this machine, and who may connect to them.

host_url <- function(tls = FALSE, port = 0) {
  tls <- check_flag(tls, "tls", sys.call())
  check_port(port)
  addresses <- host_addresses()
  urls <- sprintf("%s://%s:%d", if (tls) "tls+tcp" else "tcp", addresses, as.integer(port))
  names(urls) <- names(addresses)
  urls
}

# This machine's addresses, or its name if it has none.
host_addresses <- function() {
  addresses <- checked(.Call(wrap__network_addresses))
  if (length(addresses)) addresses else Sys.info()[["nodename"]]
}

# How a pool lets daemons in, as the native side takes it.
check_access <- function(tls, pass, token, call) {
  check_certificates(tls, "tls", call)
  if (is.function(pass)) pass <- pass()
  if (!is.null(pass) && !is_string(pass))
    abort("`pass` must be the password of the private key, a string, or a function that returns it.", call)
  if (!is.null(pass) && is.null(tls)) warn("`pass` needs `tls`, whose private key it opens, so it is ignored", call)
  if (!is.null(token)) token <- check_flag(token, "token", call)
  list(tls = tls, pass = pass, token = if (is.null(token)) NA else token, times = break_times(call))
}

# For how long a daemon may stay away after its connection has broken; and how long nothing may be heard before it is taken for
# that. Systems ask at intervals of whole seconds, and more than once.
break_times <- function(call) {
  c(seconds_option("mirai.grace", 10, 0L, call), min(seconds_option("mirai.silence", 15, 3L, call), 86400))
}

# An option that is a time in seconds.
seconds_option <- function(name, default, least, call) {
  seconds <- getOption(name, default)
  if (!is.numeric(seconds) || length(seconds) != 1L || is.na(seconds) || seconds < least)
    abort(sprintf("the option `%s` must be a number of seconds, %d or more.", name, least), call)
  as.numeric(seconds)
}

# What a pool's daemons show: `given` by the user, with the token that the hub has made, or all that it has made. A token of the
# environment is in neither.
shown_by_daemons <- function(hub, given, call) {
  wanted <- checked(.Call(wrap__hub_credentials, hub))
  if (!nzchar(wanted)) return(given)
  if (is.null(given)) return(c(wanted, ""))
  if (length(given) == 1L) abort(paste0(
    "with `token = TRUE`, `tlscert` must be the texts of certificate and revocation list, `c(<PEM>, \"\")`, to which ",
    "the token is added; or set the environment variable MIRAI_TOKEN here and for the daemons."
  ), call)
  c(paste0(given[1L], wanted), given[2L])
}

# Once in a session, of a pool that strangers may reach and get into.
warn_of_open_pool <- function(pool, access) {
  if (isTRUE(access$token) || isTRUE(getOption("mirai.open")) || !is_open_address(pool$url) || !is_first("open")) return()
  message(
    "mirai: whoever reaches `", pool$url, "` over the network can become a daemon of this session, and get its data. To ask ",
    "for a token, set `token = TRUE`; to keep what is sent secret as well, use a URL like \"",
    sub("^(ws|tcp)", "tls+tcp", pool$url), "\". This message is not shown with options(mirai.open = TRUE)."
  )
}

# Once in a session, of a pool that daemons elsewhere will not trust. Those of this session are started without the variable.
warn_of_token_variable <- function(pool, access) {
  is_own <- is.null(access$tls) && grepl("^(tls|wss)", pool$url)
  if (is_own || !is.na(access$token) || !grepl("^(tls\\+)?tcp://|^wss?://", pool$url)) return()
  if (!nzchar(trimws(Sys.getenv("MIRAI_TOKEN"))) || !is_first("token")) return()
  message(
    "mirai: the environment variable MIRAI_TOKEN is set, and `", pool$url, "` does not ask for that token: daemons elsewhere that ",
    "have the variable will not trust it. Set `token = TRUE` to ask for it, or `token = FALSE` if it is not meant for this pool."
  )
}

is_open_address <- function(url) {
  grepl("^(tcp|ws)://", url) && !grepl("^[a-z+]+://(localhost|127\\.[0-9.]+|\\[::1\\])[:/]", url)
}
