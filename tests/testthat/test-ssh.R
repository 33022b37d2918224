# Daemons by way of ssh: configurations, and a real sshd on this machine or on another one, as far as a network namespace is one.

# The port and folder of an sshd whose sessions find this R and its packages.
sshd <- function(address = "127.0.0.1", within = character(), frame = parent.frame()) {
  environment <- tempfile("environment")
  writeLines(c(
    sprintf("export %s", child_env()), sprintf("export PATH=%s:$PATH", R.home("bin"))
  ), environment)
  running <- server("sshd", address, environment, within = within, frame = frame)
  list(
    url = sprintf("ssh://%s:%s", address, running$said),
    command = file.path(running$folder, "ssh"),
    use_shell = function(path) writeLines(path, file.path(running$folder, "shell"))
  )
}

test_that("a configuration has a set of words for each remote", {
  expect_identical(
    ssh_config("ssh://user@host"),
    list(command = "ssh", args = list(c("-o ConnectTimeout=10 -fTp 22", "user@host", ".")), rscript = "Rscript", quote = TRUE,
         tunnel = FALSE)
  )
  config <- ssh_config(c("ssh://a:2222", "ssh://[::1]:22/"), tunnel = TRUE, timeout = 5, command = "/bin/ssh", rscript = "/R")
  expect_identical(config$args, list(c("-o ConnectTimeout=5 -fTp 2222", "a", "."), c("-o ConnectTimeout=5 -fTp 22", "::1", ".")))
  expect_identical(config[c("command", "rscript", "tunnel")], list(command = "/bin/ssh", rscript = "/R", tunnel = TRUE))
})

test_that("what is no remote is refused", {
  for (url in list("host", "ssh://", "ssh://a b", "ssh://-oProxyCommand=x", "ssh://a;rm", "ssh://a:x", "ssh://$(x)@a", NA_character_))
    expect_refused(ssh_config(url), "3 | Invalid argument", "ssh_config")
  expect_refused(ssh_config(1), "`remotes` must be URLs", "ssh_config")
  expect_refused(ssh_config("ssh://a", timeout = -1), "`timeout`", "ssh_config")
  expect_refused(ssh_config("ssh://a", command = NULL), "`command`", "ssh_config")
})

test_that("a tunnel leads to the address of this machine, and nowhere else", {
  # Any command that is there.
  config <- ssh_config("ssh://nowhere.invalid", tunnel = TRUE, command = "sh")
  for (url in c(local_url(), "tcp://localhost:0")) {
    local_pool(url = url)
    expect_refused(launch_remote(1, config), "SSH tunnelling requires daemons `url` hostname to be `127.0.0.1`", "launch_remote")
  }
})

test_that("all the daemons of a machine come by one tunnel", {
  recorder <- tempfile("recorder")
  record <- tempfile("words")
  writeLines(c("#!/bin/sh", sprintf("printf '%%s\\n' \"$*\" >>'%s'", record)), recorder)
  Sys.chmod(recorder, "755")
  local_pool(url = local_url(tcp = TRUE))
  port <- sub(".*:", "", nextget("url"))
  commands <- launch_remote(3, ssh_config("ssh://a", tunnel = TRUE, command = recorder))
  expect_length(commands, 3L)
  await(file.exists(record) && length(readLines(record)) == 1L)
  expect_identical(readLines(record), sprintf("-R %s:127.0.0.1:%s -o ServerAliveInterval=5 -o ConnectTimeout=10 -fTp 22 a %s & wait", port, port,
                                              paste(unclass(commands), collapse = " & ")))
  unlink(record)
  launch_remote(2, ssh_config(c("ssh://a", "ssh://b"), tunnel = TRUE, command = recorder))
  await(file.exists(record) && length(readLines(record)) == 2L)
  expect_match(readLines(record), sprintf("^-R %s:127.0.0.1:%s .* [ab] Rscript -e '[^&]*'$", port, port))
})

test_that("daemons come by a real sshd, and daemons() says how many", {
  remote <- sshd()
  expect_message(local_pool(2, url = "tls+tcp://127.0.0.1:0", remote = ssh_config(remote$url, command = remote$command)),
                 "mirai: 2 launched, 2 connected so far", fixed = TRUE)
  expect_true(all(nzchar(collect_mirai(mirai_map(1:4, function(x) Sys.getenv("SSH_CONNECTION")), .flat))))
  daemons(0)
  expect_false(daemons_set())
})

test_that("commands survive any login shell", {
  remote <- sshd()
  shells <- Sys.which(c("sh", "bash", "dash", "zsh", "ksh", "tcsh", "csh", "fish"))
  shells <- shells[nzchar(shells)]
  for (shell in shells) {
    remote$use_shell(shell)
    # A text with lines, quotes and spaces.
    suppressMessages(local_pool(1, url = "tls+tcp://127.0.0.1:0", remote = ssh_config(remote$url, command = remote$command)))
    expect_identical(value(mirai("there")), "there", label = shell)
    suppressMessages(local_pool(2, url = local_url(tcp = TRUE), remote = ssh_config(remote$url, TRUE, command = remote$command)))
    await(info()[["connections"]] == 2L)
    daemons(0)
  }
  folder <- file.path(tempfile("it's a \"place\" !x\\"), "b")
  dir.create(folder, recursive = TRUE)
  certificate <- file.path(folder, "a.pem")
  writeLines("none", certificate)
  local_pool(url = "tcp://127.0.0.1:0")
  for (shell in shells) {
    remote$use_shell(shell)
    launch_remote(1, ssh_config(remote$url, command = remote$command), tlscert = certificate)
    # It has read the file where it is, and wants no certificate.
    suppressWarnings(await({info(); sum(status()$failed$count) == match(shell, shells)}))
  }
  expect_match(status()$failed$reason, "26 | Cryptographic error|9 | Not supported", label = paste(status()$failed$reason, collapse = "\n"))
})

test_that("by a tunnel daemons of a machine that has no way to this one connect", {
  other <- other_machine()
  remote <- sshd(other$its_address, other$within)
  expect_message(local_pool(3, url = local_url(tcp = TRUE), remote = ssh_config(remote$url, tunnel = TRUE, command = remote$command)),
                 "3 launched, 3 connected")
  expect_match(value(mirai(Sys.getenv("SSH_CONNECTION"))), other$its_address, fixed = TRUE)
  expect_identical(info()[["connections"]], 3L)
  # Further ones come by the tunnel that is there.
  launch_remote(1, ssh_config(remote$url, tunnel = TRUE, command = remote$command))
  await(info()[["connections"]] == 4L)
})

test_that("a machine that cannot be reached, or lets nobody in, is named with what ssh says", {
  skip_if(Sys.which("ssh") == "", "needs ssh")
  e <- tryCatch(daemons(1, url = local_url(tcp = TRUE), remote = ssh_config("ssh://127.0.0.1:1")), error = identity)
  expect_match(conditionMessage(e), "daemons could not be started.*exit code 255.*[Rr]efused.*The command was: 'ssh' -o")
  expect_identical(conditionCall(e)[[1L]], quote(daemons))
  expect_false(daemons_set())
  remote <- sshd()
  mixed <- ssh_config(c(remote$url, "ssh://127.0.0.1:1"), command = remote$command)
  expect_warning(suppressMessages(local_pool(url = local_url(tcp = TRUE), remote = mixed)), "only 1 of 2 daemons could be launched.*[Rr]efused")
  expect_identical(value(mirai("from the other")), "from the other")
  local_pool(url = local_url(tcp = TRUE))
  stranger <- ssh_config(sub("ssh://", "ssh://nobody-here@", remote$url), command = remote$command)
  launch_remote(1, stranger)
  # What is in the status already is told in the next call at the latest.
  expect_warning({ await(sum(status()$failed$count) == 1L); info() }, "will not come.*Permission denied")
})

test_that("an R that is not found on the other machine is told while the session waits for it", {
  remote <- sshd()
  local_pool(url = local_url(tcp = TRUE))
  launch_remote(1, ssh_config(remote$url, command = remote$command, rscript = "no-such-R"))
  m <- mirai("value")
  mend <- function(w) {
    launch_local(1)
    invokeRestart("muffleWarning")
  }
  warned <- character()
  got <- withCallingHandlers(m[], warning = function(w) {
    warned <<- conditionMessage(w)
    mend(w)
  })
  expect_identical(got, "value")
  expect_match(warned, "1 launched daemon will not come.*no-such-R: .*not found")
})

test_that("with `output = TRUE` what a daemon prints there comes here", {
  remote <- sshd()
  host <- spawn(c(
    "library(mirai)",
    sprintf("daemons(1, url = local_url(tcp = TRUE), remote = ssh_config('%s', command = '%s'), output = TRUE)", remote$url, remote$command),
    "mirai(cat('printed there\\n'))[]",
    "Sys.sleep(600)"
  ))
  expect_true(await("printed there" %in% host$log()))
})
