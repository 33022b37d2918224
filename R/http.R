# Requests to services that speak HTTP, and JSON.

# The answer, whatever its status: a list of `status`, `headers` and `body`, a text. `headers`: a named character vector. `trust`:
# `TRUE` for the certificates of the system, `FALSE` for none, or the text of others.
send_request <- function(method, url, headers = character(), body = NULL, seconds = 5, trust = TRUE, call = sys.call(-1L)) {
  names <- names(headers)
  if (is.null(names)) names <- character()
  checked(.Call(wrap__http_request, method, url, names, as.character(headers), body, as.double(seconds), trust), call)
}

# Objects become lists with names, arrays lists without.
read_json <- function(text, call = sys.call(-1L)) checked(.Call(wrap__json_read, text), call)

# An object of scalars, and of other such objects, as JSON.
json_object <- function(fields) {
  values <- vapply(fields, json_scalar, "")
  paste0("{", paste0(quote_json(names(fields)), ":", values, collapse = ","), "}")
}

json_scalar <- function(x) {
  if (is.character(x)) return(quote_json(x))
  if (is.list(x)) return(json_object(x))
  if (is.logical(x)) return(if (is.na(x)) "null" else if (x) "true" else "false")
  # Neither the user's decimal separator nor 1e+05.
  formatC(x, digits = 15L, format = "fg", decimal.mark = ".", width = 1L)
}

quote_json <- function(texts) checked(.Call(wrap__json_quote, texts))
