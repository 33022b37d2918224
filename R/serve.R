# The fork server and its children: R code that the worker binary runs, in the server once, in a child from its fork to
# its end.

serve_forks <- function(fd) {
  session$to_be_daemon <- FALSE
  # Children must not draw alike, nor share a temporary folder that the first one to end takes away.
  suppressWarnings(rm(".Random.seed", envir = globalenv()))
  checked(.Call(wrap__give_up_tempdir, tempdir()))
  # A server whose packages have been updated is no longer what a fresh process would be.
  loaded <- file.path(find.package(loadedNamespaces(), quiet = TRUE), "DESCRIPTION")
  child <- checked(.Call(wrap__serve_forks, fd, loaded))
  if (is.null(child)) return(invisible())
  status <- run_child(child$code)
  quit("no", status = status, runLast = FALSE)
}

# Whether the hub was closed before the daemon had connected, or during the greeting. The daemon was launched by that
# hub's session, so nobody needs the error. The codes: nobody listens, and the connection has ended.
is_host_gone <- function(e) is.integer(e$code) && e$code %in% c(6L, 18L, 19L)

run_child <- function(code) {
  # As in work(): who looks for it goes no further than to the global environment, below.
  master <- relaying
  tryCatch({
    checked(.Call(wrap__report_tempdir, tempdir(check = TRUE)))
    eval(parse(text = code, keep.source = FALSE), globalenv())
    0L
  }, error = function(e) {
    call <- conditionCall(e)
    where <- if (is.null(call)) "Error: " else sprintf("Error in %s : ", first_line(call))
    if (!is_host_gone(e)) message(where, conditionMessage(e))
    1L
  })
}
