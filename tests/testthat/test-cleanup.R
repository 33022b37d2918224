daemons(1)

test_that("new global variables are removed, dotted ones too", {
  mirai({
    a <<- 1
    assign(".b", 2, envir = globalenv())
  }, c = 3)[]
  expect_identical(mirai(setdiff(ls(globalenv(), all.names = TRUE), ".Random.seed"))[], character())
})

test_that("they are after a failed and a cancelled task as well", {
  mirai({
    a <<- 1
    stop("x")
  })[]
  expect_false(mirai(exists("a"))[])
  started <- tempfile()
  m <- mirai({
    a <<- 1
    file.create(started)
    Sys.sleep(60)
  }, .args = list(started = started))
  await(file.exists(started))
  stop_mirai(m)
  expect_false(value(mirai(exists("a"))))
})

test_that("variables of everywhere() get their values back", {
  everywhere({
    kept <<- 1
    large <<- as.numeric(1:1e5)
  })
  mirai({
    kept <<- 2
    large[1] <<- 5
  })[]
  expect_identical(mirai(c(kept, large[1]))[], c(1, 1))
  mirai(rm(kept, envir = globalenv()))[]
  expect_identical(mirai(kept)[], 1)
  everywhere(rm(kept, large, envir = globalenv()))
  expect_false(mirai(exists("kept"))[])
})

test_that("active and locked bindings are left alone", {
  everywhere({
    looked <- 0
    makeActiveBinding("live", function() {
      looked <<- looked + 1
      looked
    }, globalenv())
    fixed <<- 1
    lockBinding("fixed", globalenv())
  })
  mirai(1)[]
  mirai(2)[]
  expect_identical(mirai(live)[], 1)
  expect_identical(mirai(fixed)[], 1)
  expect_s3_class(mirai(fixed, fixed = 2)[], "miraiError")
  everywhere({
    unlockBinding("fixed", globalenv())
    rm(live, fixed, envir = globalenv())
  })
})

test_that("packages and environments attached by a task are detached", {
  mirai({
    library(stats4)
    attach(list(zzz = 1), name = "attached")
    NULL
  })[]
  expect_false(any(c("package:stats4", "attached") %in% mirai(search())[]))
  expect_true(mirai("stats4" %in% loadedNamespaces())[])
})

test_that("what a task detaches stays detached", {
  everywhere(library(stats4))
  mirai(detach("package:stats4"))[]
  expect_false("package:stats4" %in% mirai(search())[])
  everywhere(library(stats4))
  expect_true("package:stats4" %in% mirai(search())[])
  everywhere(detach("package:stats4"))
})

test_that("methods, classes and open connections outlive the task", {
  everywhere(kept <<- new.env())
  file <- tempfile()
  mirai({
    registerS3method("format", "mirai_test", function(x, ...) "by the method", envir = baseenv())
    methods::setClass("MiraiTest", representation(a = "numeric"))
    kept$connection <- file(file, "w")
    writeLines("first", kept$connection)
  }, .args = list(file = file))[]
  later <- mirai({
    writeLines("second", kept$connection)
    close(kept$connection)
    list(format(structure(1, class = "mirai_test")), methods::new("MiraiTest", a = 5)@a)
  })[]
  expect_identical(later, list("by the method", 5))
  expect_identical(readLines(file), c("first", "second"))
  everywhere(rm(kept, envir = globalenv()))
})

test_that("options, variables and the folder are restored after a cancelled or timed-out task as well", {
  state <- quote(list(getOption("digits"), getwd(), Sys.getenv("MIRAI_TEST_NEW")))
  before <- mirai(state)[]
  disturb <- quote({
    options(digits = 3)
    Sys.setenv(MIRAI_TEST_NEW = "a")
    setwd(tempdir())
    file.create(started)
    repeat Sys.sleep(0.005)
  })
  started <- tempfile()
  m <- mirai(disturb, .args = list(started = started))
  await(file.exists(started))
  stop_mirai(m)
  expect_identical(value(mirai(state)), before)
  started <- tempfile()
  m <- mirai(disturb, .args = list(started = started), .timeout = 100)
  expect_code(value(m), 5L)
  expect_identical(value(mirai(state)), before)
})

test_that("options are restored, added ones dropped", {
  digits <- mirai(getOption("digits"))[]
  mirai(options(digits = 3, mirai.test = 1, warn = 2, scipen = NULL))[]
  expect_identical(mirai(list(getOption("digits"), getOption("mirai.test"), getOption("warn")))[], list(digits, NULL, 0L))
  everywhere(options(mirai.test = "set"))
  mirai(options(mirai.test = NULL))[]
  expect_identical(mirai(getOption("mirai.test"))[], "set")
  everywhere(options(mirai.test = NULL))
})

test_that("environment variables are restored", {
  everywhere(Sys.setenv(MIRAI_TEST_KEPT = "a"))
  mirai(Sys.setenv(MIRAI_TEST_NEW = "b", MIRAI_TEST_KEPT = "c"))[]
  expect_identical(mirai(Sys.getenv(c("MIRAI_TEST_NEW", "MIRAI_TEST_KEPT"), names = FALSE))[], c("", "a"))
  mirai(Sys.unsetenv("MIRAI_TEST_KEPT"))[]
  expect_identical(mirai(Sys.getenv("MIRAI_TEST_KEPT"))[], "a")
})

test_that("the working directory is restored", {
  folder <- mirai(getwd())[]
  mirai(setwd(tempdir()))[]
  expect_identical(mirai(getwd())[], folder)
})

test_that("sinks are restored", {
  file <- tempfile()
  mirai({
    sink(file)
    con <<- file(paste0(file, ".messages"), "w")
    sink(con, type = "message")
    print("into the file")
  }, .args = list(file = file))[]
  mirai({
    print("not there")
    message("nor that")
  })[]
  expect_identical(readLines(file), "[1] \"into the file\"")
  expect_identical(mirai(sink.number())[], 1L)
  mirai(while (sink.number() > 0) sink())[]
  expect_identical(mirai(sink.number())[], 1L)
})

test_that("graphics devices are closed", {
  mirai({
    pdf(NULL)
    pdf(NULL)
    plot(1)
  })[]
  expect_identical(mirai(length(dev.list()))[], 0L)
  everywhere(pdf(NULL))
  mirai(pdf(NULL))[]
  expect_identical(mirai(length(dev.list()))[], 1L)
  everywhere(graphics.off())
})

test_that("the kind of random numbers is restored, the stream runs on", {
  kinds <- mirai(RNGkind())[]
  mirai(RNGkind("Wichmann-Hill", "Box-Muller"))[]
  expect_identical(mirai(RNGkind())[], kinds)
  x <- unlist(lapply(1:4, function(i) mirai(runif(1))[]))
  expect_length(unique(x), 4L)
})

test_that("options and variables of a package loaded by a task stay with it", {
  lib <- tempfile("lib")
  dir.create(lib)
  path <- file.path(lib, "miraitestpackage")
  dir.create(file.path(path, "R"), recursive = TRUE)
  writeLines(c("Package: miraitestpackage", "Version: 1.0", "Title: T", "Description: D.", "License: MIT", "Author: A",
               "Maintainer: A <a@b.c>"), file.path(path, "DESCRIPTION"))
  writeLines("export(f)", file.path(path, "NAMESPACE"))
  writeLines(c(".onLoad <- function(...) options(miraitestpackage.on = TRUE)", "f <- function() getOption('miraitestpackage.on')"),
             file.path(path, "R", "f.R"))
  site <- file.path(lib, "site")
  dir.create(site)
  log <- system2(file.path(R.home("bin"), "R"), c("CMD", "INSTALL", "--no-test-load", shQuote(paste0("--library=", site)), shQuote(path)),
                 stdout = TRUE, stderr = TRUE)
  skip_if_not(dir.exists(file.path(site, "miraitestpackage")), "the package for this test could not be installed")
  use <- function(site) mirai({
    loadNamespace("miraitestpackage", lib.loc = site)
    getExportedValue("miraitestpackage", "f")()
  }, .args = list(site = site))[]
  expect_true(use(site))
  expect_true(use(site))
})

test_that("with cleanup = FALSE nothing is undone", {
  local_pool(1, cleanup = FALSE, .compute = "unclean")
  mirai({
    a <<- 1
    options(mirai.test = 2)
    library(stats4)
  }, b = 3, .compute = "unclean")[]
  expect_identical(mirai(list(a, b, getOption("mirai.test"), "package:stats4" %in% search()), .compute = "unclean")[],
                   list(1, 3, 2, TRUE))
})

daemons(0)
