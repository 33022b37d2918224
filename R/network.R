# Over a network: addresses of this machine, and who may connect to them.

host_url <- function(tls = FALSE, port = 0) {
  tls <- check_flag(tls, "tls", sys.call())
  check_port(port)
  addresses <- checked(.Call(wrap__network_addresses))
  if (!length(addresses)) addresses <- Sys.info()[["nodename"]]
  urls <- sprintf("%s://%s:%d", if (tls) "tls+tcp" else "tcp", addresses, as.integer(port))
  names(urls) <- names(addresses)
  urls
}

# How a pool lets daemons in, as the native side takes it.
check_access <- function(tls, pass, token, call) {
  check_certificates(tls, "tls", call)
  if (is.function(pass)) pass <- pass()
  if (!is.null(pass) && !is_string(pass))
    abort("`pass` must be the password of the private key, a string, or a function that returns it.", call)
  if (!is.null(pass) && is.null(tls)) warn("`pass` needs `tls`, whose private key it opens, so it is ignored", call)
  if (!is.null(token)) token <- check_flag(token, "token", call)
  list(tls = tls, pass = pass, token = if (is.null(token)) NA else token, grace = grace_option(call))
}

# Seconds for which a daemon may stay away after its connection has broken.
grace_option <- function(call) {
  grace <- getOption("mirai.grace", 10)
  if (!is.numeric(grace) || length(grace) != 1L || is.na(grace) || grace < 0)
    abort("the option `mirai.grace` must be a number of seconds, 0 or more.", call)
  as.numeric(grace)
}

# What a pool's daemons show: `given` by the user, with the token that the hub wants to be shown, or what the hub has made.
shown_by_daemons <- function(hub, given, call) {
  wanted <- checked(.Call(wrap__hub_credentials, hub))
  if (!nzchar(wanted)) return(given)
  if (is.null(given)) return(c(wanted, ""))
  if (length(given) == 1L) {
    if (nzchar(Sys.getenv("MIRAI_TOKEN"))) return(given)
    abort(paste0("with `token = TRUE`, `tlscert` must be the texts of certificate and revocation list, `c(<PEM>, \"\")`, to which ",
                 "the token is added; or set the environment variable MIRAI_TOKEN here and for the daemons."), call)
  }
  c(paste0(given[1L], wanted), given[2L])
}

# Once in a session, of a pool that strangers may reach and get into.
warn_of_open_pool <- function(pool) {
  if (session$told_open || !is.null(pool$tlscert) || isTRUE(getOption("mirai.open")) || !is_open_address(pool$url)) return()
  session$told_open <- TRUE
  message("mirai: whoever reaches `", pool$url, "` over the network can become a daemon of this session, and get its data. To ask ",
          "for a token, set `token = TRUE`; to keep what is sent secret as well, use a URL like \"", sub("^(ws|tcp)", "tls+tcp", pool$url),
          "\". This message is not shown with options(mirai.open = TRUE).")
}

is_open_address <- function(url) {
  grepl("^(tcp|ws)://", url) && !grepl("^[a-z+]+://(localhost|127\\.[0-9.]+|\\[::1\\])[:/]", url)
}
