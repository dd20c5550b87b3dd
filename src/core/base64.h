/*
 * Base 64 of RFC 4648 section 4, strict: padded, no white space, no other alphabet, and the bits that padding leaves over
 * are zero, so that every byte string has exactly one text.
 */
#ifndef ATP_BASE64_H
#define ATP_BASE64_H

#include "core/bytes.h"

#define ATP_BASE64_SIZE(bytes) (((bytes) + 2) / 3 * 4)	/* characters that so many bytes take */

extern void atp_base64_encode(AtpBuf *out, const uint8_t *bytes, size_t size);

/*
 * Decodes into `out`, which has room for `room` bytes; false: not base 64, or larger than that. With out NULL it checks and
 * measures only. The bytes are in *decoded.
 */
extern bool atp_base64_decode(const char *text, size_t size, uint8_t *out, size_t room, size_t *decoded);

#endif
