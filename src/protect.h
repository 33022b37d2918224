#ifndef MIRAI_PROTECT_H
#define MIRAI_PROTECT_H

#include <Rinternals.h>

/* Calls body(data) and comes back in any case: 0 when it returned, 1 when R jumped out of it (an error, an interrupt,
 * a restart). In the second case `token` holds the jump, and R_ContinueUnwind(token) carries it on. */
int mirai_protected(SEXP (*body)(void *), void *data, SEXP token);

#endif
