# What the installed help pages have people do.

help_pages <- function() {
  pages <- tools::Rd_db("mirai", lib.loc = dirname(getNamespaceInfo("mirai", "path")))
  skip_if(!length(pages), "the package is installed without its help pages")
  pages
}

test_that("the examples of each help page come to their end at a prompt", {
  pages <- help_pages()
  out <- tempfile(fileext = ".R")
  code <- lapply(names(pages), function(name) {
    tools::Rd2ex(pages[[name]], out, commentDontrun = FALSE, commentDonttest = FALSE)
    on.exit(unlink(out))
    c(if (file.exists(out)) readLines(out), sprintf("cat('\\nend of %s\\n')", name))
  })
  child <- spawn(c("library(mirai)", unlist(code), "quit('no')"), at_prompt = TRUE)
  log <- child$wait(120)
  for (name in names(pages)) expect_true(paste("end of", name) %in% log, label = paste("the end of", name))
})

test_that("a failing element of a map can be looked at from near, as the article on failures has it", {
  # The definitions are those of the article; what is typed at a prompt that one of them opens follows it.
  child <- spawn(c(
    "library(mirai)",
    "records <- lapply(1:20, function(i) list(id = i, weight = i * 10))",
    "records[[17]]$weight <- 'heavy'",
    "postage <- function(record) max(record$weight * 0.02, 1.5)",
    "look <- function(record) {browser(); postage(record)}",
    "r <- with(daemons(sync = TRUE, .compute = 'here'), mirai_map(records[17], look, postage = postage)[])",
    "cat('\\nlooked at', record$id, '\\n')",
    "c",
    "cat('\\nwent on to', is_mirai_error(r[[1]]), '\\n')",
    "r <- 'untouched'",
    "r <- with(daemons(sync = TRUE, .compute = 'here'), mirai_map(records[17], look, postage = postage)[])",
    "Q",
    "cat('\\nleft', r, daemons_set('here'), '\\n')",
    "debugonce(postage)",
    "r <- with(daemons(sync = TRUE, .compute = 'here'), mirai_map(records[17], postage)[])",
    "cat('\\nstepped at', record$id, '\\n')",
    "c",
    "cat('\\nstepped to', is_mirai_error(r[[1]]), isdebugged(postage), '\\n')",
    "autopsy <- function(record) withCallingHandlers(postage(record), error = function(e) recover())",
    "r <- with(daemons(sync = TRUE, .compute = 'here'), mirai_map(records[17], autopsy, postage = postage)[])",
    "0",
    "cat('\\nrecovered', is_mirai_error(r[[1]]), '\\n')",
    "rate <- function(weight) weight * 0.02",
    "postage <- function(record) max(rate(record$weight), 1.5)",
    "debug(rate)",
    "r <- with(daemons(sync = TRUE, .compute = 'here'), mirai_map(records[17], postage, rate = rate)[])",
    "cat('\\nhelper at', weight, '\\n')",
    "c",
    "quit('no')"
  ), at_prompt = TRUE)
  log <- child$wait()
  expect_true(all(c("looked at 17 ", "went on to TRUE ", "left untouched FALSE ", "stepped at 17 ", "stepped to TRUE FALSE ",
                    "recovered TRUE ", "helper at heavy ") %in% log))
  expect_match(log, "^ *[0-9]+: postage\\(record\\)", all = FALSE)
})

# The code of an article on a line of text, and in its blocks.
code_of_article <- function(lines) {
  fences <- grep("^```", lines)
  inside <- cumsum(seq_along(lines) %in% fences) %% 2L == 1L
  inside[fences] <- NA
  # Between backticks: each second piece.
  pieces <- strsplit(lines[which(!inside)], "`", fixed = TRUE)
  spans <- unlist(lapply(pieces, function(of_line) of_line[seq_along(of_line) %% 2L == 0L]))
  c(spans, paste(lines[which(inside)], collapse = "\n"))
}

# What a call names that is not there. Functions that the page makes up, or has from packages that may be missing, have one letter
# or are named here.
missing_from <- function(call) {
  elsewhere <- c("helper", "ExtendedTask$new", "in_parallel", "map")
  name <- if (is.call(call[[1L]]) || is.symbol(call[[1L]])) paste(deparse(call[[1L]]), collapse = "")
  inner <- unlist(lapply(as.list(call), function(part) if (is.call(part)) missing_from(part)))
  if (nchar(name) == 1L || name %in% elsewhere) return(inner)
  exports <- getNamespaceExports("mirai")
  if (name %in% exports) {
    known <- names(formals(getExportedValue("mirai", name)))
    # These pass others on.
    if (name %in% c("daemons", "launch_local")) known <- c(known, names(formals(daemon)))
    given <- setdiff(names(call), "")
    # Others are variables of the task there.
    if (name %in% c("mirai", "try_mirai", "mirai_map", "everywhere")) given <- grep("^[.]", given, value = TRUE)
    return(c(inner, sprintf("%s(%s = )", name, setdiff(given, known))))
  }
  is_there <- grepl("::", name, fixed = TRUE) || exists(name, envir = asNamespace("utils"), mode = "function")
  c(inner, if (!is_there) name)
}

test_that("the cheat sheet names nothing that is not there", {
  article <- test_path("..", "..", "vignettes", "cheatsheet.Rmd")
  skip_if_not(file.exists(article), "no sources of the articles here")
  lines <- readLines(article)
  code <- code_of_article(lines[-seq_len(which(lines == "---")[2L])])
  parsed <- lapply(code, function(text) {
    read <- function(text) as.list(parse(text = text, keep.source = FALSE))
    # A condition stands without what depends on it.
    tryCatch(read(text), error = function(e) tryCatch(read(paste(text, "NULL")), error = function(e) NULL))
  })
  expect_identical(code[lengths(parsed) == 0L], character())
  parts <- unlist(parsed, recursive = FALSE)
  expect_gt(length(parts), 80L)
  absent <- unlist(lapply(parts, function(part) {
    # An argument by itself.
    if (is.call(part) && identical(part[[1L]], quote(`=`))) {
      known <- unlist(lapply(list(mirai, mirai_map, daemons, everywhere), function(f) names(formals(f))))
      return(c(setdiff(deparse(part[[2L]]), known), if (is.call(part[[3L]])) missing_from(part[[3L]])))
    }
    if (is.call(part)) return(missing_from(part))
  }))
  expect_identical(as.character(absent), character())
  # Options of `x[]` are objects of the package.
  expect_true(all(all.names(parse(text = grep("^x\\[[.]", code, value = TRUE))) %in% c("[", "x", getNamespaceExports("mirai"))))
})
