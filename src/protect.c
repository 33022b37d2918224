#include <setjmp.h>
#include "protect.h"

/* R's jumps end here, so that no Rust frame with something to drop is ever jumped over: R_UnwindProtect stops the jump
 * and calls `leave`, which returns to where mirai_protected began. Signal masks are not saved, as in R itself. */

struct frame {
  sigjmp_buf back;
};

static void leave(void *data, Rboolean jump)
{
  if (jump)
    siglongjmp(((struct frame *) data)->back, 1);
}

int mirai_protected(SEXP (*body)(void *), void *data, SEXP token)
{
  struct frame frame;
  if (sigsetjmp(frame.back, 0))
    return 1;
  R_UnwindProtect(body, data, leave, &frame, token);
  return 0;
}
