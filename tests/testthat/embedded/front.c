/* Front ends for the tests.
 *
 *   front pty COMMAND...   runs a command in a pseudo-terminal of its own: standard input is what is typed, so byte 3 is
 *                          Ctrl-C, and standard output what is shown
 *   front r                R embedded as in a simple console: with R's own signal handlers
 *   front ide              R embedded as in an IDE: no signal handlers of R's; Ctrl-C sets its flag
 *
 * At an embedded prompt R's input handlers run while the line is awaited. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <Rversion.h>
#define R_INTERFACE_PTRS 1
#include <Rembedded.h>
#include <Rinterface.h>
#include <R_ext/eventloop.h>

extern int R_interrupts_pending;
extern void run_Rmainloop(void);

static int fail(const char *what) {
  fprintf(stderr, "front: %s: %s\n", what, strerror(errno));
  return 1;
}

/* ---- the terminal */

static int write_all(int fd, const char *bytes, ssize_t n) {
  while (n > 0) {
    ssize_t written = write(fd, bytes, n);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return -1;
    bytes += written;
    n -= written;
  }
  return 0;
}

/* Carries bytes both ways until the other end is gone. */
static void relay(int terminal) {
  struct pollfd fds[2] = {{terminal, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  char bytes[4096];
  for (;;) {
    if (poll(fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (fds[0].revents) {
      ssize_t n = read(terminal, bytes, sizeof bytes);
      if (n <= 0) return;
      if (write_all(STDOUT_FILENO, bytes, n) < 0) return;
    }
    if (fds[1].revents) {
      ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
      if (n <= 0) return;
      if (write_all(terminal, bytes, n) < 0) return;
    }
  }
}

static int run_in_terminal(char **command) {
  int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0 || grantpt(terminal) < 0 || unlockpt(terminal) < 0) return fail("pseudo-terminal");
  int end = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (end < 0) return fail("the terminal's other end");
  /* What is shown is output only, with plain line ends. */
  struct termios mode;
  tcgetattr(end, &mode);
  mode.c_lflag &= ~(tcflag_t)ECHO;
  mode.c_oflag &= ~(tcflag_t)OPOST;
  tcsetattr(end, TCSANOW, &mode);
  pid_t pid = fork();
  if (pid < 0) return fail("fork");
  if (pid == 0) {
    setsid();
    if (ioctl(end, TIOCSCTTY, 0) < 0) _exit(fail("controlling terminal"));
    for (int fd = 0; fd < 3; fd++) dup2(end, fd);
    signal(SIGINT, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    execvp(command[0], command);
    _exit(fail(command[0]));
  }
  close(end);
  relay(terminal);
  close(terminal);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* ---- R */

static void on_interrupt(int signal) {
  (void)signal;
  R_interrupts_pending = 1;
}

/* One line, as long as the end of the terminal's input is not reached. */
static int read_console(const char *prompt, unsigned char *buffer, int size, int history) {
  (void)history;
  write_all(STDOUT_FILENO, prompt, (ssize_t)strlen(prompt));
  int n = 0;
  while (n < size - 1) {
    fd_set *ready = R_checkActivity(-1, 0);
    if (ready == NULL) continue;
    int typed = FD_ISSET(STDIN_FILENO, ready);
    R_runHandlers(R_InputHandlers, ready);
    if (!typed) continue;
    ssize_t got = read(STDIN_FILENO, buffer + n, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return 0;
    if (buffer[n++] == '\n') break;
  }
  buffer[n] = '\0';
  return 1;
}

static void write_console(const char *text, int n, int type) {
  (void)type;
  write_all(STDOUT_FILENO, text, n);
}

static int run_r(int ide) {
  char *arguments[] = {"front", "--no-save", "--no-restore", "--no-init-file", "--quiet", "--no-readline", "--interactive"};
  if (ide) R_SignalHandlers = 0;
  if (Rf_initialize_R(sizeof arguments / sizeof *arguments, arguments) < 0) return 1;
  R_Interactive = TRUE;
  R_Outputfile = NULL;
  R_Consolefile = NULL;
  ptr_R_ReadConsole = read_console;
  ptr_R_WriteConsole = NULL;
  ptr_R_WriteConsoleEx = write_console;
  setup_Rmainloop();
  if (ide) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    sigaction(SIGINT, &action, NULL);
  }
  run_Rmainloop();
  return 0;
}

int main(int n, char **arguments) {
  if (n >= 3 && strcmp(arguments[1], "pty") == 0) return run_in_terminal(arguments + 2);
  if (n == 2 && strcmp(arguments[1], "r") == 0) return run_r(0);
  if (n == 2 && strcmp(arguments[1], "ide") == 0) return run_r(1);
  fprintf(stderr, "usage: front pty COMMAND... | front r | front ide\n");
  return 2;
}
