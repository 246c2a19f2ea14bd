/* report_page.h: the sources of the report's page, report/report.{html,css,js}, as they were when this was built. In
 * report.html a line of its own says where the others go: @css, @data, @js. */
#ifndef TRAIN_REPORT_PAGE_H
#define TRAIN_REPORT_PAGE_H

extern const char REPORT_HTML[], REPORT_CSS[], REPORT_JS[]; /* NUL-terminated */

#endif
