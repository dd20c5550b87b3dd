/*
 * Is a text what the canonical writer would make of it? One pass over the text, no tree: the check that a verifier makes for every
 * document it is shown, since only of a canonical text can it be said that all parsers read the same from it.
 */
#ifndef ATP_CANONCHECK_H
#define ATP_CANONCHECK_H

#include "core/bytes.h"

#define ATP_CANONCHECK_DEPTH 1000	/* of nesting; what is deeper is refused */

/*
 * True: `text` is a document in the canonical form of the exact profile (core/canon), valid UTF-8 without \u0000, nested at most
 * ATP_CANONCHECK_DEPTH deep. `scratch` is a buffer of the caller's, overwritten; false also where it cannot grow.
 */
extern bool atp_canon_check(const char *text, size_t size, AtpBuf *scratch);

/*
 * Unescapes the inside of a JSON string that is written canonically, up to its closing quote, which it consumes: appends its
 * value to `out`. Returns the place behind the quote; NULL: not a canonical string, or no memory. Does not check UTF-8.
 */
extern const char *atp_canon_unescape(const char *at, const char *end, AtpBuf *out);

#endif
