# Four tasks at a time and a counter that has nothing to do with them. A task is done when its gate opens, a file in the
# folder MIRAI_APP_GATES; what is in the file is what it does.

library(shiny)
library(mirai)

gates <- Sys.getenv("MIRAI_APP_GATES")
extended <- Sys.getenv("MIRAI_APP_STYLE") == "extended"
tasks <- c("a", "b", "c", "d")

work <- function(name) {
  mirai(
    {
      while (!file.exists(gate)) Sys.sleep(0.005)
      eval(parse(gate))
    },
    gate = file.path(gates, name)
  )
}

# A mirai where a promise is wanted, as far as package promises lets others be promises.
given <- function(m) if (utils::isS3stdGeneric(promises::is.promising)) m else promises::as.promise(m)

ui <- fluidPage(
  tags$h3(sprintf("mirai in Shiny %s, by %s", packageVersion("shiny"), if (extended) "ExtendedTask" else "observers")),
  actionButton("start", "Start"),
  actionButton("stop", "Stop d"),
  actionButton("count", "Count"),
  actionButton("ask", "Ask"),
  tags$p("Clicks: ", textOutput("clicks", inline = TRUE)),
  lapply(tasks, function(name) tags$p(name, ": ", textOutput(name, inline = TRUE))),
  tags$p("Answer: ", textOutput("answer", inline = TRUE))
)

server <- function(input, output, session) {
  output$clicks <- renderText(input$count)
  running <- list()
  start <- function(name) running[[name]] <<- work(name)

  if (extended) {
    by_name <- lapply(stats::setNames(nm = tasks), function(name) ExtendedTask$new(function() start(name)))
    observeEvent(input$start, for (task in by_name) task$invoke())
    lapply(tasks, function(name) {
      output[[name]] <- renderText(switch(by_name[[name]]$status(),
        initial = "idle", running = "running",
        tryCatch(by_name[[name]]$result(), error = conditionMessage)
      ))
    })
  } else {
    shown <- do.call(reactiveValues, as.list(stats::setNames(rep("idle", length(tasks)), tasks)))
    observeEvent(input$start, {
      lapply(tasks, function(name) {
        shown[[name]] <- "running"
        promises::then(
          start(name),
          function(value) shown[[name]] <- value,
          function(reason) shown[[name]] <- conditionMessage(reason)
        )
      })
      # Not a promise, which Shiny would wait for.
      NULL
    })
    lapply(tasks, function(name) output[[name]] <- renderText(shown[[name]]))
  }

  observeEvent(input$stop, {
    stop_mirai(running$d)
    NULL
  })

  output$answer <- renderText({
    req(input$ask)
    given(mirai(paste("answer", n), n = input$ask))
  })
}

shinyApp(ui, server)
