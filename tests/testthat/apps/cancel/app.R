library(shiny)
library(bslib)
library(mirai)

daemons(2)
onStop(function() daemons(0))

simulate <- function(seconds) {
  Sys.sleep(seconds)
  "Simulated."
}

ui <- page_fluid(
  numericInput("seconds", "Seconds", 60),
  input_task_button("go", "Simulate", label_busy = "Simulating"),
  actionButton("cancel", "Cancel"),
  textOutput("outcome")
)

server <- function(input, output, session) {
  running <- NULL
  task <- ExtendedTask$new(function(seconds) {
    running <<- mirai(simulate(seconds), simulate = simulate, .args = list(seconds = seconds))
  }) |> bind_task_button("go")

  observeEvent(input$go, task$invoke(input$seconds))
  observeEvent(input$cancel, stop_mirai(running))
  session$onSessionEnded(function() stop_mirai(running))

  output$outcome <- renderText(tryCatch(
    task$result(),
    miraiCodeError = function(e) if (e$code == 20) validate(need(FALSE, "Cancelled.")) else stop(e)
  ))
}

shinyApp(ui, server)
