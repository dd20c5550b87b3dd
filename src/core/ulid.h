/*
 * ULIDs: 48 bits of milliseconds since 1970-01-01Z, then 80 random bits; 16 bytes big-endian, or 26 characters of Crockford's base 32.
 * Bytes and text order alike, and by time.
 */
#ifndef ATP_ULID_H
#define ATP_ULID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATP_ULID_SIZE 16
#define ATP_ULID_TEXT_SIZE 26
#define ATP_ULID_RANDOM_SIZE 10
#define ATP_ULID_MAX_TIME UINT64_C(0xFFFFFFFFFFFF)	/* 10889-08-02 */

/*
 * Reads the text form, in either case. False: another length, a character outside the alphabet (I, L, O and U are, although
 * Crockford reads the first three as digits), or more than 128 bits (a first character over 7).
 */
extern bool atp_ulid_parse(const char *text, size_t size, uint8_t id[ATP_ULID_SIZE]);

/* Writes the text form in upper case, not terminated. */
extern void atp_ulid_format(const uint8_t id[ATP_ULID_SIZE], char text[ATP_ULID_TEXT_SIZE]);

/* Milliseconds since 1970-01-01Z. */
extern uint64_t atp_ulid_time(const uint8_t id[ATP_ULID_SIZE]);

/* Makes an id from a time, at most ATP_ULID_MAX_TIME, and random bytes. */
extern void atp_ulid_make(uint64_t time, const uint8_t random[ATP_ULID_RANDOM_SIZE], uint8_t id[ATP_ULID_SIZE]);

/*
 * Adds one to the random part, which is what a monotonic generator does within a millisecond or after a step back of the
 * clock. False, with the id as it was: all 80 bits are ones.
 */
extern bool atp_ulid_increment(uint8_t id[ATP_ULID_SIZE]);

#endif
