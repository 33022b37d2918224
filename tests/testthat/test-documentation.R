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
