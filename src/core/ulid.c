/* ULIDs; see ulid.h. */
#include "core/ulid.h"

#include <string.h>

#define TIME_SIZE (ATP_ULID_SIZE - ATP_ULID_RANDOM_SIZE)

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* The value of a character, 32 if it has none. */
static uint32_t
value_of(char c)
{
	char		upper = c >= 'a' && c <= 'z' ? (char) (c - 'a' + 'A') : c;
	const char *found = upper == '\0' ? NULL : strchr(alphabet, upper);

	return found == NULL ? 32 : (uint32_t) (found - alphabet);
}

bool
atp_ulid_parse(const char *text, size_t size, uint8_t id[ATP_ULID_SIZE])
{
	uint32_t	bits = 0;		/* the latest of them, `count` not yet stored */
	int			count = -2;		/* 26 characters are 130 bits: the first two must be zero */
	size_t		stored = 0;

	if (size != ATP_ULID_TEXT_SIZE || value_of(text[0]) > 7)
		return false;
	for (size_t i = 0; i < size; i++)
	{
		uint32_t	value = value_of(text[i]);

		if (value > 31)
			return false;
		bits = bits << 5 | value;
		for (count += 5; count >= 8; count -= 8)
			id[stored++] = (uint8_t) (bits >> (count - 8));
	}
	return true;
}

void
atp_ulid_format(const uint8_t id[ATP_ULID_SIZE], char text[ATP_ULID_TEXT_SIZE])
{
	uint32_t	bits = 0;
	int			count = 2;
	size_t		written = 0;

	for (size_t i = 0; i < ATP_ULID_SIZE; i++)
	{
		bits = bits << 8 | id[i];
		for (count += 8; count >= 5; count -= 5)
			text[written++] = alphabet[bits >> (count - 5) & 31];
	}
}

uint64_t
atp_ulid_time(const uint8_t id[ATP_ULID_SIZE])
{
	uint64_t	time = 0;

	for (size_t i = 0; i < TIME_SIZE; i++)
		time = time << 8 | id[i];
	return time;
}

void
atp_ulid_make(uint64_t time, const uint8_t random[ATP_ULID_RANDOM_SIZE], uint8_t id[ATP_ULID_SIZE])
{
	for (size_t i = TIME_SIZE; i-- > 0; time >>= 8)
		id[i] = (uint8_t) time;
	memcpy(id + TIME_SIZE, random, ATP_ULID_RANDOM_SIZE);
}

bool
atp_ulid_increment(uint8_t id[ATP_ULID_SIZE])
{
	size_t		at = ATP_ULID_SIZE;

	while (at > TIME_SIZE && id[at - 1] == 0xFF)
		at--;
	if (at == TIME_SIZE)
		return false;
	id[at - 1]++;
	memset(id + at, 0, ATP_ULID_SIZE - at);
	return true;
}
