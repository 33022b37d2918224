# Daemons as Jobs of Kubernetes, started from an R session in a pod of the cluster, whose service account may create Jobs
# (rights.yaml; session.yaml is such a pod).
#
#   source(system.file("kubernetes", "daemons.R", package = "mirai"))
#   daemons(1, url = host_url(tls = TRUE), remote = kubernetes_config("registry.example.org/r-mirai:1", parallelism = 10))
#
# `host_url()` is the pod's own address, which the other pods of the cluster reach. One Job brings `parallelism` daemons; each is a
# pod of the image, which has R and mirai. A pod that fails is not started anew: `kubectl logs job/<name>` shows what it has said.
# A Job is removed ten minutes after its end.

kubernetes_config <- function(image, parallelism = 1L, cpu = "1", memory = "2Gi", namespace = NULL,
                              server = "https://kubernetes.default.svc",
                              account = "/var/run/secrets/kubernetes.io/serviceaccount") {
  secret <- function(name) paste(readLines(file.path(account, name), warn = FALSE), collapse = "\n")
  if (is.null(namespace)) namespace <- secret("namespace")
  mirai::http_config(
    url = sprintf("%s/apis/batch/v1/namespaces/%s/jobs", server, namespace),
    # The token is renewed now and then, so it is read at each launch.
    token = function() secret("token"),
    verify = file.path(account, "ca.crt"),
    headers = c(`Content-Type` = "application/json", Accept = "application/json"),
    data = kubernetes_job,
    image = image, parallelism = parallelism, cpu = cpu, memory = memory
  )
}

# The manifest of a Job. What is left as %s is the call of the daemon, as a text within quotes.
kubernetes_job <- function(image, parallelism, cpu, memory) {
  stopifnot(!grepl("[\"\\\\%]", c(image, cpu, memory)))
  sprintf('{
  "apiVersion": "batch/v1",
  "kind": "Job",
  "metadata": {"generateName": "mirai-", "labels": {"app": "mirai"}},
  "spec": {
    "parallelism": %d,
    "completions": %d,
    "backoffLimit": 0,
    "ttlSecondsAfterFinished": 600,
    "template": {
      "metadata": {"labels": {"app": "mirai"}},
      "spec": {
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "containers": [{
          "name": "daemon",
          "image": "%s",
          "command": ["Rscript", "-e", "%%s"],
          "resources": {"requests": {"cpu": "%s", "memory": "%s"}, "limits": {"memory": "%s"}}
        }]
      }
    }
  }
}', as.integer(parallelism), as.integer(parallelism), image, cpu, memory, memory)
}
