# Start-up files of R, such as .Rprofile, run in daemons as well. What they ask of this package must not make daemons of
# daemons, each of which would read the same files.

# Whether this process was started to become a daemon. The command line says so: that of a fork server, what a launcher
# writes, or what a user has typed in its manner.
is_daemon_command <- function(arguments) {
  code <- arguments[which(arguments == "-e") + 1L]
  # R passes spaces in another guise.
  code <- gsub("~+~", " ", code[grepl("mirai", code, fixed = TRUE)], fixed = TRUE)
  expressions <- tryCatch(as.list(parse(text = code, keep.source = FALSE)), error = function(e) list())
  is_block <- function(expr) is.call(expr) && identical(expr[[1L]], quote(`{`))
  steps <- unlist(lapply(expressions, function(expr) if (is_block(expr)) as.list(expr)[-1L] else expr))
  any(vapply(steps, is_daemon_call, NA))
}

is_daemon_call <- function(expr) {
  is.call(expr) && deparse(expr[[1L]])[1L] %in% c("mirai::daemon", "mirai:::serve_forks")
}

# Whether it is still reading start-up files. After them R attaches its default packages, before it does what it was
# started for.
is_starting <- function() {
  if (!session$to_be_daemon) return(FALSE)
  packages <- getOption("defaultPackages")
  !length(packages) || !all(paste0("package:", packages) %in% search())
}

# What daemons() does in that case.
refuse_daemons <- function() {
  if (is_first("starting"))
    message("mirai: daemons() does nothing here, as this is a daemon that reads start-up files like .Rprofile. ",
            "Write there: if (interactive()) mirai::daemons(n)")
  invisible(FALSE)
}

refuse_task <- function(call) {
  why <- "they would start daemons that read them, too"
  abort(paste("a daemon that reads start-up files, like .Rprofile, cannot submit tasks:", why), call)
}
