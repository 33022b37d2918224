# status()$workers: a row for each daemon.

test_that("there is a row for each daemon", {
  local_pool(2)
  workers <- status()$workers
  expect_s3_class(workers, "data.frame")
  expect_named(workers, c("id", "pid", "host", "job", "address", "state", "activity", "task", "age", "done", "busy", "returns", "memory"))
  expect_identical(workers$id, 1:2)
  expect_setequal(workers$pid, everywhere(Sys.getpid())[.flat])
  await(all(status()$workers$state == "idle"))
  workers <- status()$workers
  expect_identical(workers$done, c(1L, 1L))
  expect_true(all(is.na(workers$task)))
  skip_unless_linux()
  expect_true(all(workers$memory > 1))
})

test_that("a daemon tells its machine and the job that it runs in, while it lives and when it has died", {
  skip_unless_linux()
  jobs <- c("SLURM_JOB_ID=18", "SLURM_ARRAY_JOB_ID=17", "SLURM_ARRAY_TASK_ID=3")
  local_variables(jobs)
  local_pool(url = local_url(tcp = TRUE))
  launch_local(1)
  await(identical(status()$workers$job, "17_3"))
  expect_identical(status()$workers$job, "17_3")
  expect_identical(status()$workers$host, Sys.info()[["nodename"]])
  lost <- value(mirai(tools::pskill(Sys.getpid(), tools::SIGKILL)))
  expect_match(attr(lost, "reason"), "^its daemon \\((process [0-9]+, )?job 17_3\\) ")
  expect_identical(status()$deaths$job, "17_3")
  Sys.unsetenv(sub("=.*", "", jobs))
  daemons(1)
  await(nrow(status()$workers) == 1L)
  expect_identical(status()$workers$job, NA_character_)
})

test_that("a busy daemon shows its task, and one at a task that is over shows that", {
  local_pool(1)
  task <- hold()
  task$started()
  workers <- status()$workers
  expect_identical(workers$state, "busy")
  expect_identical(workers$task, attr(task$m, "id"))
  expect_gte(workers$age, 0)
  task$open()
  value(task$m)
  await(status()$workers$state == "idle")

  # It does not react to the interrupt.
  started <- tempfile()
  gate <- tempfile()
  m <- mirai(
    {
      stubborn <- function() tryCatch(
        {
          file.create(started)
          while (!file.exists(gate)) Sys.sleep(0.005)
        },
        interrupt = function(e) stubborn()
      )
      stubborn()
    },
    .args = list(started = started, gate = gate)
  )
  await(file.exists(started))
  stop_mirai(m)
  workers <- status()$workers
  expect_identical(workers$state, "stopping")
  expect_identical(workers$task, attr(m, "id"))
  file.create(gate)
  await(status()$workers$state == "idle")
  expect_identical(status()$workers$done, 2L)
})

test_that("its numbers have no more digits than they are good for, and the task is found by its number", {
  local_pool(2)
  tasks <- list(hold(), hold())
  for (task in tasks) task$started()
  workers <- status()$workers
  expect_identical(workers[c("age", "busy")], round(workers[c("age", "busy")], 3L))
  expect_identical(workers$memory, round(workers$memory, 1L))
  expect_identical(sort(workers$task), vapply(tasks, function(task) attr(task$m, "id"), 0L))
  for (task in tasks) task$open()
  for (task in tasks) value(task$m)
})

test_that("it is there without dispatcher and for a pool without daemons", {
  local_pool(1, dispatcher = FALSE)
  expect_identical(nrow(status()$workers), 1L)
  daemons(url = local_url())
  expect_identical(nrow(status()$workers), 0L)
})
