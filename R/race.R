# The first of several.

race_mirai <- function(x, .compute = NULL) {
  profile_name(.compute)
  if (!is.list(x)) return(invisible(0L))
  mirai <- which(vapply(unname(unclass(x)), inherits, NA, what = "mirai"))
  if (!length(mirai)) return(invisible(0L))
  tasks <- lapply(unclass(x)[mirai], attr, "task", TRUE)
  # Without a task the value is here already. Those before it may have one too, in the hub.
  read <- which(vapply(tasks, is.null, NA))
  if (length(read)) {
    tasks <- tasks[seq_len(read[1L] - 1L)]
    first <- if (length(tasks)) checked(.Call(wrap__tasks_wait, tasks, 0L, FALSE))[3L] else 0L
    return(invisible(mirai[if (first > 0L) first else read[1L]]))
  }
  invisible(mirai[checked(.Call(wrap__tasks_wait, tasks, 1L, FALSE))[3L]])
}
