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

test_that("what tasks in a row do to variables concerns none of the next ones, be they changed in place, removed or failed at", {
  value(everywhere({ kept <<- c(1, 2, 3); other <<- "o" }))
  spoil <- list(
    quote(kept[2L] <<- 0), quote(rm(kept, other, envir = globalenv())), quote({ kept <<- NULL; stop("on purpose") }),
    quote(assign("added", 1, envir = globalenv())), quote({ set.seed(1); other <<- quote(expr = ); 1 }), quote(kept <<- kept + 0)
  )
  seen <- function() list(kept, other, setdiff(ls(globalenv()), c("kept", "other")))
  for (expr in spoil) {
    mirai(eval(expr), expr = expr)
    expect_identical(value(mirai(seen(), seen = seen)), list(c(1, 2, 3), "o", "seen"))
  }
  x <- mirai_map(spoil, function(expr) { before <- list(kept, other); eval(expr); before })[]
  expect_identical(x[-3L], rep(list(list(c(1, 2, 3), "o")), 5L))
  expect_true(is_mirai_error(x[[3L]]))
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

test_that("what a task detaches is attached again, at its place", {
  everywhere({
    library(stats4)
    attach(list(zzz = 1), name = "attached")
  })
  before <- mirai(search())[]
  mirai({
    detach("package:stats4")
    detach("attached")
    detach("package:utils", unload = TRUE)
    attach(list(yyy = 1), name = "attached")
  })[]
  after <- mirai(list(search(), zzz, exists("yyy"), is.function(mle), is.function(utils::head), attr(as.environment("package:stats4"), "path")))[]
  expect_identical(after, list(before, 1, FALSE, TRUE, TRUE, find.package("stats4")))
  everywhere({
    detach("package:stats4")
    detach("attached")
  })
  expect_false(any(c("package:stats4", "attached") %in% mirai(search())[]))
})

test_that("namespaces that a task has unloaded are loaded again", {
  everywhere(loadNamespace("stats4"))
  mirai(unloadNamespace("stats4"))[]
  expect_true(mirai("stats4" %in% loadedNamespaces())[])
})

test_that("time limits end with the task that has set them", {
  mirai(setTimeLimit(elapsed = 0.3))[]
  mirai(setSessionTimeLimit(elapsed = 0.3))[]
  # Longer than the limits, which are looked at now and then.
  spent <- quote({
    end <- Sys.time() + 0.6
    while (Sys.time() < end) Sys.sleep(0.01)
    "through"
  })
  expect_identical(mirai(spent)[], "through")
  everywhere(setTimeLimit(elapsed = 0.3))
  expect_identical(mirai(spent)[], "through")
  # One that is over by the end of the task is its own affair.
  mirai({
    a <<- 1
    setTimeLimit(elapsed = 1e-6)
  })[]
  expect_false(mirai(exists("a"))[])
})

test_that("umask, priority and processors are restored", {
  skip_on_os("windows")
  state <- quote(list(Sys.umask(), tools::psnice(), if (Sys.info()[["sysname"]] == "Linux") parallel::mcaffinity(NULL)))
  before <- mirai(state)[]
  mirai({
    Sys.umask("0123")
    parallel::mcaffinity(1L)
  })[]
  expect_identical(mirai(state)[], before)
  skip_if_not(Sys.info()[["effective_user"]] == "root", "a priority can be raised again by root alone")
  mirai(tools::psnice(value = tools::psnice() + 1L))[]
  expect_identical(mirai(state)[], before)
})

test_that("the locale is restored, and the language of messages", {
  state <- quote(c(Sys.getlocale("LC_COLLATE"), Sys.getlocale("LC_CTYPE"), Sys.getlocale("LC_TIME"), Sys.getenv("LANGUAGE"),
                   sort(c("b", "A", "a", "B"))))
  before <- mirai(state)[]
  changed <- mirai({
    Sys.setenv(LANGUAGE = "de")
    for (locale in c("C", "C.UTF-8", "en_US.UTF-8")) suppressWarnings(Sys.setlocale("LC_ALL", locale))
    Sys.setlocale("LC_TIME", if (Sys.getlocale("LC_TIME") == "C") "C.UTF-8" else "C")
    Sys.getlocale()
  })[]
  expect_identical(mirai(state)[], before)
  skip_if(identical(changed, mirai(Sys.getlocale())[]), "there is no locale but C")
})

test_that("levels of the compiler, limits of memory, torture and reports of collections are restored", {
  state <- quote(c(compiler::enableJIT(-1L), if (exists("mem.maxVSize")) mem.maxVSize(), gctorture(FALSE), gcinfo(FALSE)))
  before <- mirai(state)[]
  mirai({
    compiler::enableJIT(0)
    if (exists("mem.maxVSize")) mem.maxVSize(2000)
    gcinfo(TRUE)
    gctorture(TRUE)
  })[]
  expect_identical(mirai(state)[], before)
  everywhere(compiler::enableJIT(1))
  mirai(compiler::enableJIT(2))[]
  expect_identical(mirai(compiler::enableJIT(-1L))[], 1L)
  everywhere(compiler::enableJIT(3))
})

test_that("folders of packages are restored", {
  before <- mirai(.libPaths())[]
  mirai(.libPaths(tempdir()))[]
  expect_identical(mirai(.libPaths())[], before)
})

test_that("profiling ends with the task that has started it", {
  skip_if_not(capabilities("Rprof"), "R without Rprof()")
  file <- tempfile()
  size <- mirai({
    Rprof(file)
    end <- Sys.time() + 0.2
    while (Sys.time() < end) sqrt(2)
  }, .args = list(file = file))[]
  mirai(1)[]
  before <- file.size(file)
  mirai({
    end <- Sys.time() + 0.3
    while (Sys.time() < end) sqrt(2)
  })[]
  expect_identical(file.size(file), before)
})

test_that("a locked global environment is unlocked", {
  everywhere(kept <<- 1)
  mirai(lockEnvironment(globalenv()))[]
  expect_identical(mirai(a + kept, a = 1)[], 2)
  mirai({
    set.seed(1)
    lockEnvironment(globalenv(), bindings = TRUE)
  })[]
  expect_identical(mirai({
    kept <<- kept + 1
    runif(1)
    kept
  })[], 2)
  expect_identical(mirai(kept)[], 1)
  mirai({
    fresh <<- 1
    lockBinding("fresh", globalenv())
  })[]
  expect_false(mirai(exists("fresh"))[])
  everywhere(rm(kept, envir = globalenv()))
})

test_that("variables of everywhere() come back whatever a task has put into their place", {
  everywhere({
    kept <<- 1
    looked <<- 0
    fixed <<- 3
    lockBinding("fixed", globalenv())
    makeActiveBinding("live", function() 42, globalenv())
  })
  state <- quote(list(kept, bindingIsActive("kept", globalenv()), fixed, bindingIsLocked("fixed", globalenv()), live, exists("extra")))
  before <- mirai(state)[]
  expect_identical(before, list(1, FALSE, 3, TRUE, 42, FALSE))
  for (spoil in list(
    quote(makeActiveBinding("kept", function(value) stop("looked at"), globalenv())),
    quote(makeActiveBinding("kept", function(value) 1, globalenv())),
    quote(delayedAssign("kept", stop("forced"), assign.env = globalenv())),
    quote({
      get("unlockBinding", baseenv())("fixed", globalenv())
      fixed <<- 4
    }),
    quote({
      rm(live, envir = globalenv())
      live <<- 43
    }),
    quote(makeActiveBinding(".Random.seed", function(value) stop("seed"), globalenv()))
  )) {
    mirai({
      rm(kept, envir = globalenv())
      extra <<- 1
      options(digits = 3)
      if (exists(".Random.seed", globalenv())) rm(.Random.seed, envir = globalenv())
      eval(spoil)
    }, .args = list(spoil = spoil))[]
    if (getRversion() >= "4.2") expect_identical(mirai(state)[], before, info = deparse(spoil)) else
      expect_identical(mirai(state)[][1:4], before[1:4], info = deparse(spoil))
    expect_identical(mirai(getOption("digits"))[], 7L)
    expect_type(mirai(runif(1))[], "double")
  }
  everywhere({
    get("unlockBinding", baseenv())("fixed", globalenv())
    rm(kept, looked, fixed, live, envir = globalenv())
  })
})

test_that("pools that a task has made are closed, those of everywhere() stay", {
  everywhere(mirai::daemons(sync = TRUE, .compute = "kept"))
  made <- mirai({
    mirai::daemons(1)
    mirai::daemons(1, .compute = "other")
    mirai::daemons(sync = TRUE, .compute = "kept")
    mirai::local_daemons("other", globalenv())
    mirai::register_serial("mirai_leak", identity, identity)
    mirai::mirai(Sys.getpid(), .compute = "default")[]
  })[]
  expect_type(made, "integer")
  state <- mirai(list(mirai::daemons_set("default"), mirai::daemons_set("other"), mirai:::session$profile,
                      is.null(mirai:::session$registered)))[]
  expect_identical(state, list(FALSE, FALSE, "default", TRUE))
  skip_unless_linux()
  await(!alive(made))
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

test_that("the lowest limit on expressions concerns the task alone that has set it", {
  limit <- mirai(getOption("expressions"))[]
  call_mirai(mirai(options(expressions = 25)))
  expect_identical(mirai(getOption("expressions"))[], limit)
  error <- mirai({
    options(expressions = 25)
    f <- function(n) f(n + 1)
    f(1)
  })[]
  expect_match(error, "evaluation nested too deeply", fixed = TRUE)
  expect_identical(mirai(getOption("expressions"))[], limit)
})

test_that("environment variables are restored", {
  everywhere(Sys.setenv(MIRAI_TEST_KEPT = "a"))
  mirai(Sys.setenv(MIRAI_TEST_NEW = "b", MIRAI_TEST_KEPT = "c"))[]
  expect_identical(mirai(Sys.getenv(c("MIRAI_TEST_NEW", "MIRAI_TEST_KEPT"), names = FALSE))[], c("", "a"))
  mirai(Sys.unsetenv("MIRAI_TEST_KEPT"))[]
  expect_identical(mirai(Sys.getenv("MIRAI_TEST_KEPT"))[], "a")
})

test_that("variables whose bytes are no characters are restored, and keep nothing else from being so", {
  Sys.setenv(MIRAI_TEST_BYTES = "\xff\xfe")
  defer(Sys.unsetenv("MIRAI_TEST_BYTES"))
  for (sync in c(FALSE, TRUE)) {
    local_pool(1, sync = sync, .compute = "bytes")
    see <- function() {
      seen <- quote(list(getOption("digits"), Sys.getenv("MIRAI_TEST_OTHER"), charToRaw(Sys.getenv("MIRAI_TEST_BYTES"))))
      mirai(seen, .compute = "bytes")[]
    }
    before <- see()
    expect_identical(before[[3]], as.raw(c(0xff, 0xfe)))
    mirai({
      options(digits = 3)
      Sys.setenv(MIRAI_TEST_OTHER = "\xff", MIRAI_TEST_BYTES = "changed")
    }, .compute = "bytes")[]
    expect_identical(see(), before)
  }
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
