/*
 * The canonical JSON writer (RFC 8785, with one change in the exact profile), fed by two producers: the jsonb walker in
 * the backend (pg/canonical) and the strict text parser (core/json). A producer walks its own document, sorts the members
 * of each object with atp_canon_compare_keys, and writes punctuation itself; strings and numbers go through here.
 */
#ifndef ATP_CANON_H
#define ATP_CANON_H

#include "core/bytes.h"

typedef enum AtpCanonProfile
{
	ATP_CANON_EXACT,			/* numbers in ES6 layout from their exact decimal digits, trailing zeros stripped */
	ATP_CANON_RFC8785			/* numbers through an IEEE double, as RFC 8785 section 3.2.2.3 */
} AtpCanonProfile;

/* Writes a string with its quotes. `utf8` is valid UTF-8 without escapes, the string's value. */
extern void atp_canon_string(AtpBuf *out, const char *utf8, size_t size);

/*
 * Writes a number given as decimal text: JSON grammar, or what numeric_out prints (leading zeros and a leading '+' never,
 * digits, optional fraction, optional exponent). False: the text is not a number, or, in the RFC 8785 profile, lies
 * outside the range of a double.
 */
extern bool atp_canon_number(AtpBuf *out, AtpCanonProfile profile, const char *text, size_t size);

/* Orders two keys (valid UTF-8) by their UTF-16 code units, RFC 8785 section 3.2.3: < 0, 0, > 0. */
extern int	atp_canon_compare_keys(const char *a, size_t a_size, const char *b, size_t b_size);

#endif
