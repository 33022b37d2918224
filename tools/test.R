# Runs the R tests against the installed package and writes "<passed> <failed> <skipped>", counted in test_that()
# blocks, to the file named by the first argument. A second one is a pattern for the names of test files, in place of all.

arguments <- commandArgs(TRUE)
counts <- arguments[1L]
results <- testthat::test_dir(
  "tests/testthat",
  filter = if (length(arguments) > 1L) arguments[2L],
  package = "mirai",
  load_package = "installed",
  reporter = testthat::SummaryReporter$new(max_reports = Inf),
  stop_on_failure = FALSE
)
results <- as.data.frame(results)
took <- sort(tapply(results$real, results$file, sum), decreasing = TRUE)
shown <- utils::head(took[took >= 5], 12L)
if (length(shown)) cat("\nThe longest files: ", paste(sprintf("%s %.0f s", names(shown), shown), collapse = ", "), ".\n", sep = "")
failed <- results$failed > 0L | results$error
skipped <- !failed & results$skipped
writeLines(paste(sum(!failed & !skipped), sum(failed), sum(skipped)), counts)
if (any(failed)) quit(status = 1L)
