/*
 * SHA-256 through OpenSSL EVP, with the digest fetched once and the context reused: a third of the cost of the one-shot
 * call for inputs of a few hundred bytes. With core/sign the only file of core that includes OpenSSL.
 *
 * Not thread-safe (a backend and the tools are single-threaded). A failure inside OpenSSL cannot be recovered from and
 * must not yield a wrong hash: atp_sha256_final returns false, and every caller has to look.
 */
#ifndef ATP_HASH_H
#define ATP_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATP_HASH_SIZE 32

typedef struct AtpSlice			/* a piece of what is hashed */
{
	const void *data;
	size_t		size;
} AtpSlice;

/* One hash at a time: begin, update as often as needed, final. False: OpenSSL refused (out of memory, no provider). */
extern bool atp_sha256_begin(void);
extern bool atp_sha256_update(const void *data, size_t size);
extern bool atp_sha256_final(uint8_t hash[ATP_HASH_SIZE]);

/* The whole of it for data in one piece, or in several. */
extern bool atp_sha256(const void *data, size_t size, uint8_t hash[ATP_HASH_SIZE]);
extern bool atp_sha256_slices(const AtpSlice *slices, int count, uint8_t hash[ATP_HASH_SIZE]);

#endif
