/*
 * The canonical JSON writer (RFC 8785, with one change in the exact profile), fed by two producers: the jsonb walker in
 * the backend (pg/canonical) and the strict text parser (core/json). A producer walks its own document, sorts the members
 * of each object and writes brackets and commas itself; strings and numbers go through here.
 *
 * The profiles differ in numbers only, and only where a number has more than 15 significant digits or lies outside the
 * range of a double. Nothing here depends on the locale.
 */
#ifndef ATP_CANON_H
#define ATP_CANON_H

#include "core/bytes.h"

typedef enum AtpCanonProfile
{
	ATP_CANON_EXACT,			/* numbers in ES6 layout from their exact decimal digits, trailing zeros stripped */
	ATP_CANON_RFC8785			/* numbers through an IEEE double, as RFC 8785 section 3.2.2.3 */
} AtpCanonProfile;

typedef struct AtpCanonKey		/* a key on its way through atp_canon_sort_keys */
{
	uint64_t	prefix;			/* its first bytes as a number that orders like them; set by atp_canon_key */
	const char *utf8;
	uint32_t	size;
	uint32_t	index;			/* the producer's: which member this is */
} AtpCanonKey;

/* Writes a string with its quotes. `utf8` is valid UTF-8 without escapes, the string's value. */
extern void atp_canon_string(AtpBuf *out, const char *utf8, size_t size);

/* Writes the name of a member: the brace or comma before it, the string, the colon. */
extern void atp_canon_name(AtpBuf *out, char lead, const char *utf8, size_t size);

/* How many bytes at the start of a string stand in JSON as they are: up to the first control character, quote or backslash. */
extern size_t atp_canon_plain_run(const char *utf8, size_t size);

/*
 * Writes a number given as decimal text: JSON grammar, which is also what numeric_out prints for a finite number. -0 becomes
 * 0. False, with nothing written: the text is not a number, or, in the RFC 8785 profile, rounds to more than the largest
 * double (what rounds to zero is zero, as in ECMAScript).
 */
extern bool atp_canon_number(AtpBuf *out, AtpCanonProfile profile, const char *text, size_t size);

/* How many bytes at the start of `text` are a number of JSON's grammar, as many as can be; 0: none. */
extern size_t atp_canon_scan_number(const char *text, size_t size);

/* Orders two keys (valid UTF-8) by their UTF-16 code units, RFC 8785 section 3.2.3: < 0, 0, > 0. */
extern int	atp_canon_compare_keys(const char *a, size_t a_size, const char *b, size_t b_size);

/* Makes a key ready for sorting. */
extern void atp_canon_key(AtpCanonKey *key, const char *utf8, uint32_t size, uint32_t index);

/* Puts keys into canonical order; `spare` has room for as many, and may be NULL for up to ATP_CANON_SORT_IN_PLACE. */
#define ATP_CANON_SORT_IN_PLACE 16
extern void atp_canon_sort_keys(AtpCanonKey *keys, size_t count, AtpCanonKey *spare);

#endif
