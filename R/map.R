# mirai_map(): a task for each element, or each row.

mirai_map <- function(.x, .f, ..., .args = list(), .promise = NULL, .compute = NULL, .timeout = NULL, .retries = NULL,
                      .runtime = NULL) {
  call <- sys.call()
  .x
  .args
  .promise
  .compute
  .timeout
  .retries
  .runtime
  pool <- find_pool(.compute, call)
  if (is.null(pool)) raise_no_daemons(.compute, environment())
  if (!is.null(session$tracer)) trace_map(pool, environment())
  if (!is.function(.f)) abort(sprintf("`.f` must be of type function, not %s", typeof(.f)), call)
  callbacks <- check_promise(.promise, call)
  # NULL is atomic up to R 4.3 only.
  if (!(is.null(.args) || is.list(.args) || is.atomic(.args)))
    abort(sprintf("`.args` must be a list or a vector, not of type %s", typeof(.args)), call)
  if (!is.null(.timeout)) .timeout <- check_timeout(.timeout, call)
  retries <- if (is.null(.retries)) pool$retries else check_retries(.retries, ".retries", call)
  runtime <- if (is.null(.runtime)) pool$runtime else check_runtime(.runtime, ".runtime", call)
  dots <- if (...length()) list(...)
  globals <- if (!is.null(dots)) global_part(dots, call)
  units <- map_units(.x, call)
  if (!is.null(dots)) check_globals(names(dots), .f, c(names(.args), units$cell_names), call)

  .args <- as.list(.args)
  # What all tasks have in common travels once to each daemon.
  shared <- new_shared_part(map_call(units$cells, units$cell_names, .args), .f, .args, globals)
  mirai <- submit_units(pool, units, share(pool, shared, call), .timeout, retries, runtime, call)
  if (!is.null(callbacks)) add_callbacks(mirai, callbacks)
  invisible(structure(mirai, names = units$names, class = "mirai_map"))
}

# `...` are global variables of the daemons. Elsewhere they are arguments of the function: who means that is told.
check_globals <- function(names, f, supplied, call) {
  options <- intersect(names, option_names)
  if (length(options)) warn(sprintf(
    "`%1$s` in `...` is a global variable of the daemons: as an option of collecting, write `mirai_map(...)[%1$s]`.", options[1L]
  ), call)
  meant <- setdiff(intersect(names, setdiff(names(formals(args(f))), "...")), supplied)
  if (length(meant)) warn(sprintf(
    "%s in `...` %s of the daemons, not of `.f`: for arguments of `.f`, write `.args = list(%s)`.",
    paste0("`", meant, "`", collapse = ", "),
    if (length(meant) == 1L) "is a global variable" else "are global variables",
    paste0(meant, " = ...", collapse = ", ")
  ), call)
}

# If that fails, or is interrupted, nobody has a hold on those already submitted, so they are stopped.
submit_units <- function(pool, units, shared, timeout, retries, runtime, call) {
  if (!is.null(units$bulk) && !pool$sync && is.null(pool$serial) && is.null(pool$bridge) && is.null(session$tracer))
    return(submit_together(pool, units, shared, timeout, retries, runtime, call))
  mirai <- vector("list", units$n)
  i <- 0L
  on.exit(if (i < units$n) stop_all(mirai[seq_len(i)]))
  unit <- units$unit
  send <- submitter()
  while (i < units$n) {
    mirai[[i + 1L]] <- new_mirai(send(pool, unit(i + 1L), shared, timeout, flag_map, TRUE, call, retries, runtime))
    i <- i + 1L
    # In this session, Ctrl-C is meant for the map.
    if (pool$sync && is_mirai_interrupt(peek(mirai[[i]]))) interrupt_again()
  }
  mirai
}

# As R does at Ctrl-C.
interrupt_again <- function() {
  signalCondition(structure(list(message = "", call = NULL), class = c("interrupt", "condition")))
  invokeRestart("abort")
}

# By one native call, which sees to failures and interrupts itself.
submit_together <- function(pool, units, shared, timeout, retries, runtime, call) {
  stream <- if (pool$seeded) pool$stream
  rows <- if (!is.null(units$cells)) units$n
  submitted <- .Call(
    wrap__hub_submit_map, pool$hub, units$bulk, rows, units$cell_names, shared, timeout, flag_map, stream, retries, runtime,
    mirai_form
  )
  checked(submitted, call)
  if (!is.null(stream)) pool$stream <- submitted[[2L]]
  submitted[[1L]]
}

# What is mapped over: `n` units, `unit(i)` to get one, their names. Rows are lists of cells (how many, and their names),
# elements have NULL there. `bulk` is, if there is that, what the native side takes them from: a vector, or a list of columns.
map_units <- function(x, call) {
  if (is.data.frame(x)) return(frame_units(x))
  size <- dim(x)
  if (is.null(size)) return(element_units(x))
  if (length(size) != 2L)
    abort(sprintf("`.x` must have 2 dimensions, if any, not %d: its rows are mapped over.", length(size)), call)
  if (is.vector(x) || is.matrix(x)) matrix_units(x) else table_units(x)
}

element_units <- function(x) {
  if (!is.vector(x) || is.object(x)) x <- as.list(x)
  list(n = length(x), unit = function(i) x[[i]], names = names(x), bulk = plain_elements(x))
}

plain_types <- c("logical", "integer", "double", "character", "raw", "list")

# A vector whose elements come without a method, of a type that the native side takes them from; NULL if there is no such.
plain_elements <- function(x) {
  if (is.object(x)) NULL else if (typeof(x) %in% plain_types) x else as.list(x)
}

plain_columns <- function(columns, n) {
  columns <- lapply(unname(columns), plain_elements)
  if (all(lengths(columns) == n) && !any(vapply(columns, is.null, NA))) columns
}

frame_units <- function(x) {
  n <- dim(x)[1L]
  names <- attr(x, "row.names")
  columns <- unclass(x)
  cells <- lapply(columns, column_cells, n)
  list(
    n = n,
    unit = function(i) lapply(cells, function(column) column[[i]]),
    names = if (is.character(names)) names,
    cells = length(columns),
    cell_names = names(columns),
    bulk = plain_columns(cells, n)
  )
}

# A column as what `[[` takes the cells of: plain vectors are that already.
column_cells <- function(column, n) {
  if (length(dim(column)) > 1L) return(lapply(seq_len(n), function(i) column_row(column, i)))
  if (!is.object(column)) return(column)
  cells <- as.list(column)
  if (length(cells) == n && (is.list(column) || n == 0L || is.object(cells[[1L]]))) return(cells)
  # A class that as.list() knows nothing of.
  lapply(seq_len(n), function(i) {
    cell <- column[i]
    if (!is.object(cell) && is.atomic(cell)) oldClass(cell) <- oldClass(column)
    cell
  })
}

# Of a data frame, a data frame; of an array, one with a dimension less.
column_row <- function(column, i) {
  if (is.data.frame(column)) return(column[i, , drop = FALSE])
  do.call(`[`, c(list(column, i), rep(list(TRUE), length(dim(column)) - 1L)))
}

matrix_units <- function(x) {
  list(
    n = nrow(x),
    unit = function(i) as.list(x[i, ]),
    names = rownames(x),
    cells = ncol(x),
    cell_names = colnames(x),
    bulk = if (!is.object(x)) plain_columns(lapply(seq_len(ncol(x)), function(j) as.vector(x[, j])), nrow(x))
  )
}

# Other tables, whose rows come by the same index.
table_units <- function(x) {
  list(n = nrow(x), unit = function(i) as.list(x[i, ]), names = NULL, cells = ncol(x), cell_names = colnames(x))
}

# What all tasks of a map have in common, as submit() takes it.
share <- function(pool, object, call) {
  if (pool$sync) return(object)
  if (!is.null(pool$serial)) object <- pack(object, pool$serial)
  checked(.Call(wrap__hub_share, pool$hub, object), call)
}
