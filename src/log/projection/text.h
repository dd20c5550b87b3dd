/* A text as it stands in an index: itself, or the beginning of it with a digest of all. */
#ifndef ATP_PROJECTION_TEXT_H
#define ATP_PROJECTION_TEXT_H

#include "postgres.h"

/* A text datum in the current memory context. */
extern Datum atp_search_text(const char *text, size_t size);

#endif
