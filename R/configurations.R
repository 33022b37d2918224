# Configurations for launch_remote(): the commands by which daemons start by way of ssh, or of a scheduler.

ssh_config <- function(remotes, tunnel = FALSE, timeout = 10, command = "ssh", rscript = "Rscript") {
  call <- sys.call()
  if (!is.character(remotes) || !length(remotes))
    abort(sprintf("`remotes` must be URLs like \"ssh://host\", not `%s`.", shown(remotes)), call)
  tunnel <- check_flag(tunnel, "tunnel", call)
  if (!is_limit(timeout) || timeout > .Machine$integer.max)
    abort(sprintf("`timeout` must be a number of seconds, not `%s`.", shown(timeout)), call)
  if (!is_string(command)) abort(sprintf("`command` must be a string, not `%s`.", shown(command)), call)
  if (!is_string(rscript)) abort(sprintf("`rscript` must be a string, not `%s`.", shown(rscript)), call)
  # In the background once it has been let in, without a terminal.
  args <- lapply(remotes, function(url) {
    remote <- ssh_remote(url, call)
    c(sprintf("-o ConnectTimeout=%d -fTp %s", as.integer(timeout), remote$port), remote$host, ".")
  })
  list(command = command, args = args, rscript = rscript, quote = TRUE, tunnel = tunnel)
}

# Host and port of a URL. They go into a command line, so there is nothing in them that would mean something to a shell.
ssh_remote <- function(url, call) {
  user <- "(([A-Za-z0-9_.][A-Za-z0-9_.+-]*@)?)"
  host <- "(\\[[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?\\]|[A-Za-z0-9_][A-Za-z0-9_.-]*)"
  pattern <- paste0("^[A-Za-z][A-Za-z0-9+.-]*://", user, host, "(:([0-9]{1,5}))?/?$")
  if (is.na(url) || !grepl(pattern, url))
    abort(sprintf(
      "%s: `remotes` must be URLs like \"ssh://host\" or \"ssh://user@host:22\", not `%s`.", coded(3L), shown(url)
    ), call)
  port <- sub(pattern, "\\6", url)
  host <- gsub("[][]", "", sub(pattern, "\\3", url))
  list(host = paste0(sub(pattern, "\\1", url), host), port = if (nzchar(port)) port else "22")
}

# The scheduler's command is given the script of the job, as a here-document.
cluster_config <- function(command = "sbatch", options = "", rscript = "Rscript") {
  call <- sys.call()
  if (!is.character(command) || !length(command) || !is_string(command[1L]))
    abort(sprintf("`command` must be a string such as \"sbatch\", not `%s`.", shown(command)), call)
  if (!is.character(options) || anyNA(options)) abort(sprintf("`options` must be lines of text, not `%s`.", shown(options)), call)
  if (!is_string(rscript)) abort(sprintf("`rscript` must be a string, not `%s`.", shown(rscript)), call)
  lines <- unlist(strsplit(paste(options, collapse = "\n"), "\n", fixed = TRUE))
  if ("EOF" %in% trimws(lines)) abort("`options` must not have a line that is `EOF`: there the script ends.", call)
  options <- paste(gsub("(^|\n)[ \t]+", "\\1", options), collapse = "\n")
  args <- c(sprintf("%s<<'EOF'\n#!/bin/sh\n%s\n", command[1L], options), ".", "\nEOF\n")
  list(command = "/bin/sh", args = args, rscript = rscript, quote = NULL)
}
