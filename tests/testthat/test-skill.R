# The guide for coding agents: each of its blocks runs, and prints what it says.

# The blocks of R code of a Markdown file, without their fences.
code_blocks <- function(file) {
  lines <- readLines(file, encoding = "UTF-8")
  fences <- grep("^```", lines)
  starts <- fences[c(TRUE, FALSE)]
  ends <- fences[c(FALSE, TRUE)]
  blocks <- Map(function(from, to) lines[seq_len(to - from - 1L) + from], starts, ends)
  blocks[lines[starts] == "```r"]
}

# What `run` writes: for each expression, what it prints and what the block says that it prints.
runner <- function(file) c(
  sprintf("block <- readLines('%s', encoding = 'UTF-8')", file),
  "code <- parse(text = block, keep.source = TRUE)",
  "places <- attr(code, 'srcref')",
  "shown <- c(vapply(places, function(place) place[3L], 0L), length(block) + 1L)",
  "begun <- c(vapply(places, function(place) place[1L], 0L), length(block) + 1L)",
  "for (i in seq_along(code)) {",
  "  after <- block[seq_len(begun[i + 1L] - shown[i] - 1L) + shown[i]]",
  "  said <- sub('^#> ?', '', grep('^#>', after, value = TRUE))",
  "  visible <- NULL",
  "  printed <- capture.output({",
  "    visible <- withVisible(eval(code[[i]], globalenv()))",
  "    if (visible$visible) print(visible$value)",
  "  })",
  "  if (!identical(printed, said)) cat('\\nat:', deparse(code[[i]]), '\\nprinted:', printed, '\\nsaid:   ', said, sep = '\\n')",
  "}"
)

test_that("the guide for coding agents has its front matter", {
  file <- system.file("skills", "mirai", "SKILL.md", package = "mirai")
  expect_true(file.exists(file))
  lines <- readLines(file, encoding = "UTF-8")
  expect_identical(lines[1L], "---")
  end <- which(lines == "---")[2L]
  fields <- lines[2:(end - 1L)]
  expect_identical(sub(":.*", "", fields), c("name", "description", "license"))
  expect_identical(fields[1L], "name: mirai")
  # Longer ones are cut by those who read them.
  expect_lt(nchar(fields[2L]), 1024L)
})

test_that("each block of the guide for coding agents prints what it says", {
  blocks <- code_blocks(system.file("skills", "mirai", "SKILL.md", package = "mirai"))
  needs_shiny <- vapply(blocks, function(block) any(grepl("library(shiny)", block, fixed = TRUE)), NA)
  has_shiny <- requireNamespace("shiny", quietly = TRUE) && "ExtendedTask" %in% getNamespaceExports("shiny")
  if (!has_shiny) blocks <- blocks[!needs_shiny]
  expect_gt(length(blocks), 20L)
  # In one session, as one block goes on from another.
  files <- vapply(blocks, function(block) {
    file <- tempfile(fileext = ".R")
    writeLines(block, file, useBytes = TRUE)
    file
  }, "")
  code <- c("options(width = 80)", unlist(lapply(files, runner)), "cat('all blocks\\n')")
  expect_identical(run_r(code, seconds = 120), "all blocks")
})
