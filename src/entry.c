#include <R_ext/Rdynload.h>
#include <R_ext/Visibility.h>

/* Registers the entries, which are Rust functions (rust/rbridge). */
void R_init_mirai_extendr(DllInfo *info);

attribute_visible void R_init_mirai(DllInfo *info)
{
  R_init_mirai_extendr(info);
}
