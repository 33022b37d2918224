# Many users at once: each of them starts ten tasks, and may cancel them or leave. What becomes of all tasks is counted in a file.

library(shiny)
library(mirai)

gate <- Sys.getenv("MIRAI_APP_GATE")
status_file <- Sys.getenv("MIRAI_APP_STATUS")

tally <- c(open = 0, values = 0, cancelled = 0, other = 0)

note <- function(what, by = 1) tally[[what]] <<- tally[[what]] + by

# Replaced at once, so that nobody reads half of it.
report <- function() {
  counts <- c(tally, info()[c("awaiting", "executing", "completed")])
  writeLines(sprintf("%s %d", names(counts), as.integer(counts)), paste0(status_file, ".new"))
  file.rename(paste0(status_file, ".new"), status_file)
  later::later(report, 0.05)
}

# A mirai where a promise is wanted, as far as package promises lets others be promises.
given <- function(m) if (utils::isS3stdGeneric(promises::is.promising)) m else promises::as.promise(m)

ui <- fluidPage(actionButton("start", "Start"), actionButton("cancel", "Cancel"), textOutput("sum"))

server <- function(input, output, session) {
  note("open")
  tasks <- list()
  values <- reactiveVal(0)
  cancelled <- reactiveVal(0)

  observeEvent(input$start, {
    tasks <<- lapply(1:10, function(i) mirai({
      while (!file.exists(gate)) Sys.sleep(0.01)
      i
    }, .args = list(gate = gate, i = i)))
    for (m in tasks) promises::then(given(m), function(value) {
      note(if (is.integer(value)) "values" else "other")
      values(isolate(values()) + value)
    }, function(error) {
      note(if (grepl("20 | Operation canceled", conditionMessage(error), fixed = TRUE)) "cancelled" else "other")
      cancelled(isolate(cancelled()) + 1)
    })
    NULL
  })

  observeEvent(input$cancel, stop_mirai(tasks))
  session$onSessionEnded(function() {
    note("open", -1)
    stop_mirai(tasks)
  })
  output$sum <- renderText(sprintf("sum %d, %d cancelled", as.integer(values()), as.integer(cancelled())))
}

shinyApp(ui, server, onStart = report)
