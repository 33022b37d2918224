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
