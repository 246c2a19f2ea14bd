/* report_page.c: see report_page.h. Assembled from the folder of the Makefile, which knows that this depends on them. */
#include "train/report_page.h"

#define EMBED(name, path)                                                                                  \
    __asm__(".section .rodata\n"                                                                           \
            ".global " #name "\n"                                                                          \
            ".type " #name ", @object\n" #name ":\n"                                                       \
            ".incbin \"" path "\"\n"                                                                       \
            ".byte 0\n"                                                                                    \
            ".size " #name ", . - " #name "\n"                                                             \
            ".previous\n")

EMBED(REPORT_HTML, "report/report.html");
EMBED(REPORT_CSS, "report/report.css");
EMBED(REPORT_JS, "report/report.js");
