# The main job on real data: standard errors of regression models by the bootstrap, on R's own data sets, first in
# this session, then on daemons. Run by `make demo`.

library(mirai)
options(cli.progress_show_after = 0)

refits <- 60L   # bootstrap samples in a task
blocks <- 20L   # tasks for a model

models <- list(
  mtcars = list(
    data = datasets::mtcars,
    fit = function(data) lm(mpg ~ wt + hp, data)
  ),
  airquality = list(
    data = na.omit(datasets::airquality),
    fit = function(data) lm(Ozone ~ Solar.R + Wind + Temp, data)
  ),
  swiss = list(
    data = datasets::swiss,
    fit = function(data) lm(Fertility ~ Agriculture + Education + Catholic, data)
  ),
  ToothGrowth = list(
    data = datasets::ToothGrowth,
    fit = function(data) lm(len ~ supp * dose, data)
  ),
  warpbreaks = list(
    data = datasets::warpbreaks,
    fit = function(data) glm(breaks ~ wool + tension, poisson, data)
  ),
  infert = list(
    data = datasets::infert,
    fit = function(data) glm(case ~ spontaneous + induced, binomial, data)
  )
)

# One task: `refits` fits of a model to rows drawn with replacement. The seed, with the kinds of generator spelled
# out, makes its numbers the same wherever it runs.
bootstrap <- function(model, seed, models, refits) {
  set.seed(seed, "Mersenne-Twister", "Inversion", "Rejection")
  data <- models[[model]]$data
  fit <- models[[model]]$fit
  coefficients <- replicate(refits, {
    rows <- sample.int(nrow(data), replace = TRUE)
    coef(fit(data[rows, , drop = FALSE]))
  })
  list(coefficients = coefficients, pid = Sys.getpid())
}

tasks <- expand.grid(model = names(models), block = seq_len(blocks), stringsAsFactors = FALSE)
tasks <- data.frame(model = tasks$model, seed = seq_len(nrow(tasks)))
constants <- list(models = models, refits = refits)

seconds <- function(expr) system.time(expr)[["elapsed"]]
part <- function(...) cat("\n", ..., "\n", sep = "")

part("mirai ", format(packageVersion("mirai")), " on ", R.version.string)
cat(nrow(tasks), "tasks:", refits, "bootstrap fits each, of", length(models), "regression models on R's data sets\n")

part("In this session, one after the other ...")
alone <- seconds(
  expected <- Map(bootstrap, tasks$model, tasks$seed, MoreArgs = constants, USE.NAMES = FALSE)
)

n <- max(2L, parallel::detectCores(), na.rm = TRUE)
part("On ", n, " daemons ...")
start <- seconds(daemons(n))
pooled <- seconds(
  results <- collect_mirai(
    mirai_map(tasks, bootstrap, .args = constants),
    list(.progress = list(name = "bootstrap", clear = FALSE))
  )
)

part("Time")
cat(sprintf("  %-28s %6.2f s\n", c("in this session", "on daemons", "starting the daemons"), c(alone, pooled, start)), sep = "")
cat(sprintf("  %-28s %6.2f times as fast\n", "daemons", alone / pooled))

part("Tasks done by each daemon (process id: tasks)")
done <- table(vapply(results, function(result) result$pid, 1L))
cat(sprintf("  %s: %d\n", names(done), done), sep = "")

part("Standard errors by the bootstrap (", blocks * refits, " samples a model)")
for (model in names(models)) {
  samples <- do.call(cbind, lapply(results[tasks$model == model], `[[`, "coefficients"))
  errors <- apply(samples, 1L, sd)
  cat(sprintf("  %-12s %s\n", model, paste(names(errors), formatC(errors, digits = 3), sep = " ", collapse = ", ")))
}

part("A task that fails does so alone: a model of a column that is not there")
failing <- mirai(lm(mpg ~ horsepower, data), data = datasets::mtcars)
print(failing[])
cat("  is_mirai_error(): ", is_mirai_error(failing$data), "; classes of the condition: ",
    toString(failing$data$condition.class), "\n", sep = "")

same <- identical(lapply(results, `[[`, "coefficients"), lapply(expected, `[[`, "coefficients"))
part("Results on daemons identical to those of this session: ", same)
daemons(0)

if (!same || !is_mirai_error(failing$data)) quit(status = 1L)
