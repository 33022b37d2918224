# Daemons as jobs of schedulers: the scripts that these are handed, a real Slurm and a real Grid Engine, and what is told of jobs
# that wait, die or are cancelled.

# A program in the place of a scheduler's: it keeps what it is given, and says what such a program says.
stand_in <- function(says, code = 0L, name = "submit", frame = parent.frame()) {
  folder <- tempfile("standin")
  dir.create(folder)
  defer(unlink(folder, recursive = TRUE), frame)
  command <- file.path(folder, name)
  writeLines(c(
    "#!/bin/sh", sprintf("cat >'%s/script.new'", folder), sprintf("printf '%%s\\n' \"$@\" >'%s/words'", folder),
    sprintf("cat '%s/says'", folder), sprintf("mv '%s/script.new' '%s/script'", folder, folder), sprintf("exit %d", code)
  ), command)
  writeLines(says, file.path(folder, "says"))
  Sys.chmod(command, "755")
  list(command = command, script = function() {
    await(file.exists(file.path(folder, "script")))
    readLines(file.path(folder, "script"))
  }, words = function() readLines(file.path(folder, "words")))
}

# Waits until it is warned, and looks at the text.
expect_warned <- function(pattern, seconds = 180) {
  text <- NULL
  withCallingHandlers(await({info(); !is.null(text)}, seconds), warning = function(w) {
    text <<- conditionMessage(w)
    invokeRestart("muffleWarning")
  })
  expect_match(text, pattern)
}

# For how long a daemon may stay away. Schedulers take their time to tell.
local_grace <- function(seconds, frame = parent.frame()) {
  before <- options(mirai.grace = seconds)
  defer(options(before), frame)
}

# What is said of the daemon of a task that was lost.
lost_reason <- function(m) {
  expect_code(value(m), 19L)
  attr(m$data, "reason")
}

# The task is lost for this reason, which may go on with the last output. What is said in warnings as well is not looked at.
expect_lost <- function(m, reason, output = "") {
  said <- NULL
  withCallingHandlers(said <- lost_reason(m), warning = function(w) invokeRestart("muffleWarning"))
  expect_match(said, paste0(reason, output))
  expect_match(status()$deaths$reason, sub(".*\\) ", "", reason))
  daemons(0)
}

test_that("a configuration makes up a script", {
  config <- cluster_config("qsub -terse", "  #$ -cwd\n\t#$ -l mem=4G\nmodule load R", "/opt/R/bin/Rscript")
  expect_named(config, c("command", "args", "rscript", "quote"))
  expect_identical(config$command, "/bin/sh")
  expect_null(config$quote)
  expect_identical(paste(sub("^[.]$", "HERE", config$args), collapse = ""),
                   "qsub -terse<<'EOF'\n#!/bin/sh\n#$ -cwd\n#$ -l mem=4G\nmodule load R\nHERE\nEOF\n")
  expect_identical(cluster_config(c("sbatch", "qsub"))$args[1L], "sbatch<<'EOF'\n#!/bin/sh\n\n")
  expect_refused(cluster_config(1), "`command` must be a string", "cluster_config")
  expect_refused(cluster_config(options = NULL), "`options` must be lines of text", "cluster_config")
  expect_refused(cluster_config(options = "a\n EOF"), "`options` must not have a line that is `EOF`", "cluster_config")
  expect_refused(cluster_config(rscript = NA), "`rscript` must be a string", "cluster_config")
})

test_that("PBS and LSF are handed the exact script, each with what is said of it", {
  local_pool(url = local_url(tcp = TRUE), idletime = 60000)
  call <- sprintf("Rscript -e 'mirai::daemon(\"%s\",idletime=60000)'", nextget("url"))
  pbs <- stand_in("12.server")
  launch_remote(1, cluster_config(paste(pbs$command, "-V"), "#PBS -l select=1:ncpus=1\n  #PBS -N \"two words\""))
  expect_identical(pbs$script(), c("#!/bin/sh", "#PBS -l select=1:ncpus=1", "#PBS -N \"two words\"", call))
  expect_identical(pbs$words(), "-V")
  lsf <- stand_in("Job <12> is submitted to default queue <normal>.")
  launch_remote(1, cluster_config(lsf$command, "#BSUB -n 1\n#BSUB -W 60"))
  expect_identical(lsf$script(), c("#!/bin/sh", "#BSUB -n 1", "#BSUB -W 60", call))
  # Nothing by which a scheduler that runs here would know a job.
  plain <- stand_in("submitted")
  launch_remote(1, cluster_config(plain$command))
  expect_identical(plain$script(), c("#!/bin/sh", "", call))
})

test_that("what PBS and LSF say of a job that dies is told", {
  # Programs by which they are asked.
  bin <- tempfile("bin")
  dir.create(bin)
  error <- file.path(bin, "job.e12")
  writeLines("Rscript: not found", error)
  writeLines(c("#!/bin/sh", "cat <<EOF", "Job Id: 12.server", "    job_state = F", sprintf("    Error_Path = node:%s", error),
               "    Exit_status = 127", "EOF"), file.path(bin, "qstat"))
  writeLines(c("#!/bin/sh", "echo '0|EXIT|140|-'"), file.path(bin, "bjobs"))
  Sys.chmod(list.files(bin, "^(qstat|bjobs)$", full.names = TRUE), "755")
  local_variables(paste0("PATH=", bin, ":", Sys.getenv("PATH")))
  local_pool(url = local_url(tcp = TRUE))
  pbs <- stand_in("12.server")
  launch_remote(1, cluster_config(pbs$command))
  expect_warned("1 launched daemon will not come.*PBS job 12.server: exit status 127.*Rscript: not found.*The command was: ")
  lsf <- stand_in("Job <12> is submitted to queue <normal>.")
  launch_remote(1, cluster_config(lsf$command))
  expect_warned("LSF job 12: exit code 140")
  expect_identical(sum(status()$failed$count), 2L)
})

# A scheduler with arrays, of PBS or LSF, as far as that is running the script for each number with the variables that it has there:
# by those a daemon tells which job it is in. `tell(number, state)` writes what is said of one.
array_scheduler <- function(kind, frame = parent.frame()) {
  folder <- tempfile(kind)
  dir.create(folder)
  defer(unlink(folder, recursive = TRUE), frame)
  program <- function(name, ...) {
    writeLines(c("#!/bin/sh", ...), file.path(folder, name))
    Sys.chmod(file.path(folder, name), "755")
  }
  variables <- if (kind == "pbs") 'PBS_JOBID="12[$i].head" PBS_ARRAY_INDEX=$i' else "LSB_JOBID=12 LSB_JOBINDEX=$i"
  program(
    "submit", sprintf("cat >'%s/script'", folder),
    sprintf("for i in 1 2; do %s sh '%s/script' >/dev/null 2>&1 & done", variables, folder),
    if (kind == "pbs") "echo '12[].head'" else "echo 'Job <12> is submitted to default queue <normal>.'"
  )
  says <- function(name) file.path(folder, paste0("says-", name))
  asked <- sprintf("printf '%%s\\n' \"$*\" >>'%s'", file.path(folder, "asked"))
  if (kind == "pbs") program("qstat", asked, sprintf("cat '%s' '%s'", says(1), says(2))) else
    # One that knows no reasons of exits.
    program("bjobs", asked, 'case "$*" in *exit_reason*) exit 255 ;; esac', sprintf("cat '%s' '%s'", says(1), says(2)))
  tell <- function(number, ...) writeLines(c(...), says(number))
  list(command = file.path(folder, "submit"), folder = folder, tell = tell, script = function() readLines(file.path(folder, "script")),
       asked = function() readLines(file.path(folder, "asked")))
}

test_that("each daemon of an array of PBS or LSF tells its job, and what is said of that one is in the error of its task", {
  running <- list(pbs = function(i) c(sprintf("Job Id: 12[%d].head", i), "    job_state = R"), lsf = function(i) sprintf("%d|RUN|-|-", i))
  ended <- list(pbs = c("Job Id: 12[2].head", "    job_state = X", "    Exit_status = 271", "    comment = walltime exceeded"),
                lsf = "2|EXIT|140|-")
  options <- list(pbs = "#PBS -J 1-2", lsf = "#BSUB -J \"mirai[1-2]\"")
  jobs <- list(pbs = c("12[1].head", "12[2].head"), lsf = c("12[1]", "12[2]"))
  reason <- list(pbs = "ended with its PBS job: signal 15, walltime exceeded", lsf = "ended with its LSF job: exit code 140")
  for (kind in c("pbs", "lsf")) {
    scheduler <- array_scheduler(kind)
    scheduler$tell(1, running[[kind]](1))
    scheduler$tell(2, running[[kind]](2))
    local_variables(child_env(), paste0("PATH=", scheduler$folder, ":", Sys.getenv("PATH")))
    local_grace(60)
    local_pool(url = local_url(tcp = TRUE))
    launch_remote(1, cluster_config(scheduler$command, options[[kind]], rscript = rscript))
    await(info()[["connections"]] == 2L && sum(nzchar(status()$workers$job)) == 2L)
    expect_identical(scheduler$script()[2L], options[[kind]])
    expect_setequal(status()$workers$job, jobs[[kind]])
    scheduler$tell(2, ended[[kind]])
    lost <- suppressWarnings({
      tasks <- lapply(1:2, function(i) mirai({
        if ("2" %in% Sys.getenv(c("PBS_ARRAY_INDEX", "LSB_JOBINDEX"))) tools::pskill(Sys.getpid(), 9L)
        Sys.sleep(0.2)
      }))
      await(!any(vapply(tasks, unresolved, NA)))
      Find(function(m) is_error_value(m$data), tasks)
    })
    expect_match(lost_reason(lost), reason[[kind]])
    expect_identical(status()$workers$job, jobs[[kind]][1L])
    if (kind == "pbs") expect_true("-t -f 12[].head" %in% scheduler$asked())
    daemons(0)
  }
})

test_that("PBS and LSF are told to take back what waits as its pool closes, and it is said if they do not", {
  bin <- tempfile("bin")
  dir.create(bin)
  program <- function(name, ...) {
    writeLines(c("#!/bin/sh", ...), file.path(bin, name))
    Sys.chmod(file.path(bin, name), "755")
  }
  record <- function(name) sprintf("printf '%%s\\n' \"$*\" >>'%s'", file.path(bin, paste0(name, ".words")))
  words <- function(name) readLines(file.path(bin, paste0(name, ".words")))
  program("qstat", "case \"$*\" in *13*) printf 'Job Id: 13[].head\\n job_state = B\\nJob Id: 13[1].head\\n job_state = R\\nJob Id: 13[2].head\\n job_state = Q\\n' ;;",
          "*) printf 'Job Id: 12.head\\n job_state = Q\\n' ;; esac")
  program("qdel", record("qdel"))
  # It is asked for one job with its state, and for all that wait.
  program("bjobs", "case \"$*\" in *-p*) printf '12|0\\n13|2\\n14|0\\n' ;; *) printf '0|PEND|-|-\\n' ;; esac")
  program("bkill", record("bkill"), "echo 'Job <12>: not yours' >&2", "exit 255")
  local_variables(paste0("PATH=", bin, ":", Sys.getenv("PATH")))
  launch <- function(name, ...) {
    local_pool(url = local_url(tcp = TRUE))
    for (says in c(...)) {
      submit <- stand_in(says, name = name)
      launch_remote(1, cluster_config(submit$command))
      submit$script()
    }
    daemons(0)
  }
  launch("qsub", "12.head", "13[].head")
  expect_identical(sort(words("qdel")), c("12.head", "13[2].head"))
  said <- character()
  withCallingHandlers({
    launch("bsub", "Job <12> is submitted to queue <normal>.", "Job <13> is submitted to queue <normal>.")
    # Of both, in one message or two.
    await({info(); sum(lengths(regmatches(said, gregexpr("not yours", said)))) == 2L})
  }, message = function(c) {
    said <<- c(said, conditionMessage(c))
    invokeRestart("muffleMessage")
  })
  expect_identical(sort(words("bkill")), c("12", "13[2]"))
  expect_match(said, "LSF jobs that wait for a pool that is closed could not be taken back \\(1[23]\\): the command for it ended with exit code 1.*not yours")
})

test_that("a mere number is a job of the scheduler that the command is of", {
  bin <- tempfile("bin")
  dir.create(bin)
  words <- file.path(bin, "words")
  program <- function(name, ...) {
    writeLines(c("#!/bin/sh", ...), file.path(bin, name))
    Sys.chmod(file.path(bin, name), "755")
  }
  note <- function(name) sprintf("printf '%%s\\n' \"%s $*\" >>'%s'", name, words)
  program("qdel", note("qdel"))
  program("scancel", note("scancel"))
  # Grid Engine lists what waits, and says nothing of one job yet.
  program("qstat", "case \"$*\" in '-s p') echo '     12 0.5 STDIN me qw 11/28/2026 08:00:00 1' ; echo '     13 0.5 STDIN me qw 11/28/2026 08:00:00 1 2-3:1' ;; esac")
  program("qacct", "exit 1")
  local_variables(paste0("PATH=", bin, ":", Sys.getenv("PATH")))
  for (says in c("12", "13.1-3:1")) {
    local_pool(url = local_url(tcp = TRUE))
    submit <- stand_in(says, name = "qsub")
    launch_remote(1, cluster_config(paste(submit$command, "-terse")))
    submit$script()
    daemons(0)
  }
  expect_identical(readLines(words), c("qdel 12", "qdel 13 -t 2-3:1"))
})

test_that("a job that ends well before its daemon has come is a launch that failed", {
  bin <- tempfile("bin")
  dir.create(bin)
  ended <- file.path(bin, "ended")
  writeLines(c("#!/bin/sh", "echo 'Job Id: 12.head'", sprintf("if [ -e '%s' ]; then printf ' job_state = F\\n Exit_status = 0\\n'", ended),
               "else echo ' job_state = Q'; fi"), file.path(bin, "qstat"))
  Sys.chmod(file.path(bin, "qstat"), "755")
  local_variables(paste0("PATH=", bin, ":", Sys.getenv("PATH")))
  local_pool(url = local_url(tcp = TRUE))
  pbs <- stand_in("12.head", name = "qsub")
  launch_remote(1, cluster_config(pbs$command))
  pbs$script()
  # However long it waits in the queue, it is none.
  expect_identical(sum(status()$failed$count), 0L)
  file.create(ended)
  expect_warned("1 launched daemon will not come.*PBS job 12.head: ended without an error, before a daemon had come")
  expect_identical(sum(status()$failed$count), 1L)
})

test_that("what only looks like a job of the pool's, or may be one of another cluster, is not taken back from this one", {
  bin <- tempfile("bin")
  dir.create(bin)
  words <- file.path(bin, "words")
  writeLines(c("#!/bin/sh", sprintf("printf '%%s\\n' \"$*\" >>'%s'", words)), file.path(bin, "scancel"))
  writeLines(c("#!/bin/sh", "echo ' JobState=PENDING Reason=None'"), file.path(bin, "scontrol"))
  Sys.chmod(list.files(bin, full.names = TRUE), "755")
  local_variables(paste0("PATH=", bin, ":", Sys.getenv("PATH")))
  local_pool(url = local_url(tcp = TRUE))
  # As the task of a daemon may have said, or a wrapper.
  other <- stand_in(c("Submitted batch job 777", "778"), name = "sbatch-wrapper")
  launch_remote(1, remote_config(other$command, "."))
  other$script()
  far <- stand_in("Submitted batch job 12 on cluster far", name = "sbatch")
  launch_remote(1, cluster_config(far$command))
  far$script()
  daemons(0)
  expect_identical(readLines(words), "--state=PENDING -M far 12")
})

test_that("a submission that is refused is an error with what was said, or a warning where some are not", {
  refuses <- stand_in("qsub: no such queue", code = 3L)
  e <- tryCatch(daemons(2, url = local_url(tcp = TRUE), remote = cluster_config(refuses$command)), error = identity)
  expect_match(conditionMessage(e), "daemons could not be started.*exit code 3.*qsub: no such queue.*The command was: ")
  expect_false(daemons_set())
  absent <- tryCatch(daemons(1, url = local_url(tcp = TRUE), remote = cluster_config("no-such-sbatch")), error = conditionMessage)
  expect_match(absent, "no-such-sbatch: not found", fixed = TRUE)
})

# ---- Slurm

# One for all tests here, with its accounts: it takes a while to start. The end of the file stops it.
shared <- new.env()

slurm <- function(frame = parent.frame()) {
  if (is.null(shared$slurm)) shared$slurm <- start_server("slurm")
  running <- shared$slurm
  said <- strsplit(running$said, " ")[[1L]]
  running$has <- function(what) paste0(what, "=yes") %in% said
  local_variables(said, child_env(), frame = frame)
  old <- setwd(running$folder)
  defer(setwd(old), frame)
  invisible(running)
}

test_that("Slurm: jobs, arrays and many daemons from one job; jobs that are refused, die, are cancelled or wait", {
  slurm()
  remote <- function(options = "", ...) cluster_config(options = options, rscript = rscript, ...)
  expect_message(local_pool(2, url = local_url(tcp = TRUE), remote = remote()), "2 launched, [012] connected so far")
  await(info()[["connections"]] == 2L)
  expect_length(unique(collect_mirai(mirai_map(1:2, function(i) { Sys.sleep(0.2); Sys.getenv("SLURM_JOB_ID") }), .flat)), 2L)

  expect_setequal(status()$workers$job, everywhere(Sys.getenv("SLURM_JOB_ID"))[.flat])

  # An array, and a job of several tasks: any number from one command, each a worker of its own.
  expect_length(launch_remote(1, remote("#SBATCH --array=1-3")), 1L)
  await(info()[["connections"]] == 5L)
  several <- remote("#SBATCH --ntasks=3\n#SBATCH --overcommit")
  several$rscript <- paste("srun", rscript)
  launch_remote(1, several)
  await(info()[["connections"]] == 8L)
  workers <- status()$workers
  expect_false(anyDuplicated(workers$id) > 0L)
  everywhere({})
  where <- collect_mirai(mirai_map(1:64, function(i) { Sys.sleep(0.05); paste(Sys.getenv(c("SLURM_ARRAY_TASK_ID", "SLURM_PROCID", "SLURM_JOB_ID")), collapse = "-") }), .flat)
  expect_length(unique(where), 8L)

  # Without a script, as words of srun.
  launch_remote(1, remote_config("srun", c("--job-name=one", "."), rscript))
  await(info()[["connections"]] == 9L)

  launch_remote(1, remote("#SBATCH --partition=nowhere"))
  expect_warned("1 launched daemon will not come.*invalid partition specified: nowhere")

  launch_remote(1, cluster_config(rscript = "no-such-R"))
  expect_warned("1 launched daemon will not come.*Slurm job [0-9]+: FAILED, exit code 127.*no-such-R: not found")

  # A job that is cancelled costs the task its daemon was at.
  daemons(0)
  local_grace(60)
  suppressMessages(local_pool(1, url = local_url(tcp = TRUE), remote = remote()))
  held <- hold()
  held$started()
  job <- system2("squeue", c("-h", "-t", "R", "-o", "%i"), stdout = TRUE)
  system2("scancel", utils::tail(job, 1L))
  expect_warned("daemons are lost: Slurm job [0-9]+: CANCELLED")
  expect_match(lost_reason(held$m), "job [0-9]+\\) ended with its Slurm job: CANCELLED")

  # One that waits is told of, once there has been nothing for a while.
  launch_remote(1, remote("#SBATCH --begin=now+1hour"))
  m <- mirai(1)
  said <- NULL
  withCallingHandlers(await({info(); !is.null(said)}, 180), message = function(c) {
    said <<- conditionMessage(c)
    invokeRestart("muffleMessage")
  })
  expect_match(said, "0 of 1 launched daemons have connected so far.\nSlurm job [0-9]+: waiting \\(BeginTime\\)")
  expect_true(unresolved(m))
})

# A job with a daemon that has a task: both.
held_job <- function(options, frame = parent.frame()) {
  suppressMessages(local_pool(1, url = local_url(tcp = TRUE), remote = cluster_config(options = options, rscript = rscript), frame = frame))
  held <- hold()
  held$started()
  list(m = held$m, id = status()$workers$job)
}

test_that("Slurm: why a job has ended is in the error of the task that is lost with it", {
  running <- slurm()
  local_grace(60)
  # One of an array, by its limit of time.
  job <- held_job("#SBATCH --array=1-1\n#SBATCH --time=60")
  expect_match(job$id, "^[0-9]+_1$")
  system2("scontrol", c("update", paste0("JobId=", job$id), "EndTime=now"))
  expect_lost(job$m, sprintf("job %s\\) ended with its Slurm job: TIMEOUT", job$id))

  # By the exit code of its script, with what that has said.
  remote <- function(...) cluster_config(rscript = rscript, ...)
  suppressMessages(local_pool(1, url = local_url(tcp = TRUE), remote = remote(), output = TRUE))
  expect_lost(mirai(tools::pskill(Sys.getpid(), 9L)), "ended with its Slurm job: FAILED, exit code 137", ". Its last output[^:]*:.*Killed")

  if (running$has("LIMITS_MEMORY")) {
    suppressMessages(local_pool(1, url = local_url(tcp = TRUE), remote = remote(options = "#SBATCH --mem=300")))
    expect_lost(mirai(sum(rep(1, 1e8))), "ended with its Slurm job: OUT_OF_MEMORY", ". Its last output[^:]*:.*oom")
  }

  # What runs on a node that is given up may go on, so it is waited for. Here it does not.
  local_grace(10)
  job <- held_job("#SBATCH --no-requeue")
  system2("scontrol", c("update", "NodeName=here", "State=DOWN", "Reason=test"))
  defer(system2("scontrol", c("update", "NodeName=here", "State=RESUME"), stderr = FALSE))
  expect_lost(job$m, "was lost with its Slurm job: NODE_FAIL")
})

test_that("Slurm: what the controller has forgotten the accounts have", {
  running <- slurm()
  skip_if(!running$has("HAS_ACCOUNTS"), "the accounts of Slurm need slurmdbd and mariadb-server-core: .ci/servers installs them")
  # As if it forgot jobs at once, where it does after some minutes.
  bin <- tempfile("bin")
  dir.create(bin)
  writeLines(c("#!/bin/sh", "echo 'slurm_load_jobs error: Invalid job id specified' >&2", "exit 1"), file.path(bin, "scontrol"))
  Sys.chmod(file.path(bin, "scontrol"), "755")
  local_variables(paste0("PATH=", bin, ":", Sys.getenv("PATH")))
  local_grace(60)
  job <- held_job("#SBATCH --array=3-3")
  system2("scancel", job$id)
  expect_lost(job$m, sprintf("job %s\\) ended with its Slurm job: CANCELLED", job$id))
})

# Of the jobs of this user: the states of those of which `squeue` knows.
slurm_states <- function() system2("squeue", c("-h", "-r", "-o", "%T"), stdout = TRUE)

# A task that has begun and goes on for a while: the file that is there once it has come to its end.
task_under_way <- function() {
  note <- tempfile("note")
  started <- tempfile("started")
  mirai({
    file.create(started)
    Sys.sleep(1)
    file.create(note)
  }, note = note, started = started)
  await(file.exists(started))
  note
}

test_that("Slurm: jobs that wait are taken back as their pool closes, and those that have begun are left to end", {
  slurm()
  remote <- function(options) cluster_config(options = options, rscript = rscript)
  local_pool(url = local_url(tcp = TRUE))
  launch_remote(1, remote("#SBATCH --begin=now+1hour"))
  # One of it runs, and the others wait for their turn.
  launch_remote(1, remote("#SBATCH --array=1-4%1"))
  held <- hold()
  held$started()
  await(setequal(slurm_states(), c("RUNNING", "PENDING")) && length(slurm_states()) == 5L)
  running <- status()$workers$job
  daemons(0)
  expect_false("PENDING" %in% slurm_states())
  await(!length(slurm_states()))
  said <- system2("scontrol", c("-o", "show", "job", running), stdout = TRUE)
  expect_match(said, "JobState=(COMPLETED|FAILED)")

  # Each of these leaves its task to the end.
  local_pool(url = local_url(tcp = TRUE), autoexit = NA)
  launch_remote(1, remote("#SBATCH --array=1-2%1"))
  note <- task_under_way()
  daemons(0)
  await(!length(slurm_states()))
  expect_true(file.exists(note))

  # Daemons that wait for another host at the address may come later.
  local_pool(url = local_url(tcp = TRUE), autoexit = FALSE)
  launch_remote(1, remote("#SBATCH --begin=now+1hour"))
  await(identical(slurm_states(), "PENDING"))
  daemons(0)
  expect_identical(slurm_states(), "PENDING")
  system2("scancel", "--user=root")
})

test_that("Slurm: what a session that ends has left in the queue is taken back", {
  slurm()
  host <- spawn(c(
    "library(mirai)",
    "daemons(url = local_url(tcp = TRUE))",
    "launch_remote(1, cluster_config(options = '#SBATCH --begin=now+1hour'))",
    "launch_remote(1, remote_config('srun', c('--begin=now+1hour', '.')))",
    "while (length(system2('squeue', '-h', stdout = TRUE)) < 2) Sys.sleep(0.05)",
    "cat('submitted\\n')"
  ))
  expect_true("submitted" %in% host$wait())
  await(!length(slurm_states()))
})

# ---- Grid Engine

grid_engine <- function(frame = parent.frame()) {
  running <- server("gridengine", frame = frame)
  local_variables(strsplit(running$said, " ")[[1L]], child_env(), frame = frame)
  home <- tempfile("home")
  dir.create(home)
  old <- setwd(home)
  defer(setwd(old), frame)
}

test_that("Grid Engine: jobs and arrays; jobs that are refused, die, cannot begin or are cancelled", {
  grid_engine()
  remote <- function(options = "", ...) cluster_config("qsub", c("#$ -V", "#$ -cwd", options), ...)
  expect_message(local_pool(1, url = local_url(tcp = TRUE), remote = remote(rscript = rscript)), "1 launched, [01] connected so far")
  await(info()[["connections"]] == 1L)
  expect_match(value(mirai(Sys.getenv("JOB_ID"))), "^[0-9]+$")
  expect_identical(status()$workers$job, value(mirai(Sys.getenv("JOB_ID"))))
  launch_remote(1, remote("#$ -t 1-2", rscript = rscript))
  await(info()[["connections"]] == 3L)
  expect_false(anyDuplicated(status()$workers$id) > 0L)

  launch_remote(1, remote("#$ -q nowhere"))
  expect_warned("1 launched daemon will not come.*unknown queue \"nowhere\"")

  daemons(0)
  local_pool(url = local_url(tcp = TRUE))
  launch_remote(1, remote(rscript = "no-such-R"))
  expect_warned("1 launched daemon will not come.*Grid Engine job [0-9]+: exit status 127.*no-such-R: not found")

  launch_remote(1, remote("#$ -o /nowhere/at/all", rscript = rscript))
  expect_warned("Grid Engine job [0-9]+: in error state: .*/nowhere/at/all")

  daemons(0)
  local_grace(60)
  local_pool(url = local_url(tcp = TRUE))
  launch_remote(1, remote(rscript = rscript))
  held <- hold()
  held$started()
  job <- grep("^ *[0-9].* [rt] ", system2("qstat", stdout = TRUE), value = TRUE)
  system2("qdel", sub("^ *([0-9]+) .*", "\\1", job), stdout = FALSE)
  expect_warned("daemons are lost: Grid Engine job [0-9]+: failed 100 ")
  expect_match(lost_reason(held$m), "job [0-9]+\\) ended with its Grid Engine job: failed 100 ")

  # Jobs that wait are taken back as their pool closes, one that could not begin included: a whole one, and of an array those that
  # have not begun.
  listed <- function(state) system2("qstat", c("-s", state), stdout = TRUE)
  expect_length(listed("p"), 0L)
  daemons(0)
  local_pool(url = local_url(tcp = TRUE), autoexit = NA)
  launch_remote(1, remote("#$ -h", rscript = rscript))
  launch_remote(1, remote("#$ -t 1-8", rscript = rscript))
  note <- task_under_way()
  await(length(listed("p")) > 3L && length(listed("r")) > 3L)
  daemons(0)
  expect_length(listed("p"), 0L)
  await(!length(listed("pr")))
  expect_true(file.exists(note))
})

test_that("daemons of this machine, of ssh and of Slurm serve one pool", {
  slurm()
  environment <- tempfile("environment")
  writeLines(sprintf("export %s", child_env()), environment)
  running <- server("sshd", "127.0.0.1", environment)
  local_pool(url = local_url(tcp = TRUE))
  launch_local(1)
  launch_remote(1, ssh_config(paste0("ssh://127.0.0.1:", running$said), command = file.path(running$folder, "ssh"), rscript = rscript))
  launch_remote(1, cluster_config(rscript = rscript))
  await(info()[["connections"]] == 3L)
  kinds <- mirai_map(1:60, function(i) {
    Sys.sleep(0.02)
    if (nzchar(Sys.getenv("SLURM_JOB_ID"))) "slurm" else if (nzchar(Sys.getenv("SSH_CONNECTION"))) "ssh" else "local"
  })
  expect_setequal(collect_mirai(kinds, .flat), c("local", "ssh", "slurm"))
})

if (!is.null(shared$slurm)) shared$slurm$stop()
