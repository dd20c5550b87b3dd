/*
 * Strict UTF-8 (RFC 3629): overlong forms, surrogates and code points over U+10FFFF are refused. Zero bytes are characters.
 */
#ifndef ATP_UTF8_H
#define ATP_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATP_UTF8_MAX 4			/* bytes of a code point */

/* How many bytes at the start of `text` are whole, valid characters; `size` if all are. */
extern size_t atp_utf8_scan(const char *text, size_t size);

static inline bool
atp_utf8_is_valid(const char *text, size_t size)
{
	return atp_utf8_scan(text, size) == size;
}

/* Writes a code point (no surrogate, at most U+10FFFF) and returns how many bytes it took. */
extern size_t atp_utf8_encode(uint32_t code_point, char to[ATP_UTF8_MAX]);

#endif
