# State of this session that is no pool's: what there is, and how it is changed. A field that is not made here does not exist
# (tools/check-names.sh looks).

session <- new.env()

# As it is when the package has been loaded.
reset_session <- function() list2env(c(host_state(), daemon_state(), tracing_state()), session)

host_state <- function() list(
  # The current compute profile.
  profile = "default",
  # How often pools, the current profile and what is registered for serialization have been set.
  changes = 0L,
  # The hub of ephemeral daemons.
  ephemeral = NULL,
  # What register_serial() was given.
  registered = NULL,
  # A task of a synchronous profile is under evaluation.
  in_sync = FALSE,
  # What has been said and is not said again, see is_first().
  told = character(),
  # Bridges to nanonext of pools that have closed, with answers under way.
  bridges = NULL,
  # Maps of everywhere() at the prompt, whose failures are told.
  set_ups = NULL,
  # How many pools heal by R code.
  healed = 0L,
  # The promise of an empty map.
  nothing = NULL,
  # Whom HTTP requests trust, and the cookie that Posit Workbench was shown.
  trust = NULL,
  workbench_cookie = NULL
)

daemon_state <- function() list(
  # This process was started to become a daemon and is none yet.
  to_be_daemon = is_daemon_command(commandArgs()),
  # It is one, whose native loop runs; the loop cleans up; output goes to the host.
  on_daemon = FALSE,
  on_loop = FALSE,
  cleaning = FALSE,
  output = FALSE,
  # Where output went before, and the connection that discards it.
  sinks = NULL,
  messages = NULL,
  discard = NULL,
  # The hooks for serialization of its host.
  serial = NULL,
  # The frame that the task is evaluated from, with all that came with it, and the random seed before it. Set by the native side.
  given = NULL,
  seed = NULL,
  # The last error or interrupt, and the last condition of any kind.
  noted = NULL,
  signalled = NULL,
  # What is evaluated if it can do nothing but compute. Set by the native side.
  pure = NULL,
  # What goes along with the value: whether there is something, conditions for the host, warnings to print.
  beside = NULL,
  relayed = NULL,
  warnings = NULL
)

# See otel.R. `tracer` becomes a promise where there may be one.
tracing_state <- function() list(
  tracer = NULL,
  # The span of a daemon's connection, and that of a task whose value is not serialized yet.
  connection = NULL,
  evaluated = NULL
)

# Whether this is the first time that somebody is told of it.
is_first <- function(what) {
  if (what %in% session$told) return(FALSE)
  session$told <- c(session$told, what)
  TRUE
}

# Daemons look whether a task has set a pool, the profile or hooks.
note_change <- function() session$changes <- session$changes + 1L

# Makes a profile the current one; the one before.
use_profile <- function(name) {
  previous <- session$profile
  session$profile <- name
  previous
}

# Fields of the session as they are, for restore_state().
saved_state <- function(fields) mget(fields, envir = session)

restore_state <- function(state) list2env(state, session)
