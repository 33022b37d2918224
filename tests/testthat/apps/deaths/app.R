# An app whose daemons somebody kills: the button starts a task, which is tried again, and the output shows what comes of it.
# MIRAI_APP_GATE is a file that tasks wait for, MIRAI_APP_PIDS one that they note their process in.
library(shiny)
library(mirai)

ui <- fluidPage(
  actionButton("go", "Go"),
  actionButton("fragile", "Go without a second attempt"),
  textOutput("outcome")
)

server <- function(input, output, session) {
  outcome <- reactiveVal("idle")
  start <- function(retries) {
    outcome("running")
    m <- mirai({
      cat(Sys.getpid(), "\n", file = pids, append = TRUE)
      while (!file.exists(gate)) Sys.sleep(0.01)
      paste("done at attempt", mirai::task_attempt(), "with", setting)
    }, gate = Sys.getenv("MIRAI_APP_GATE"), pids = Sys.getenv("MIRAI_APP_PIDS"), .retries = retries)
    promises::then(m, outcome, function(e) outcome(conditionMessage(e)))
    NULL
  }
  observeEvent(input$go, start(5))
  observeEvent(input$fragile, start(0))
  output$outcome <- renderText(outcome())
}

shinyApp(ui, server)
