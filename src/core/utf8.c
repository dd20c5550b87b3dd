/* Strict UTF-8; see utf8.h. The ranges are those of the table of well-formed byte sequences in Unicode, section 3.9. */
#include "core/utf8.h"

#include <string.h>

static inline bool
is_tail(uint8_t byte)
{
	return (byte & 0xC0) == 0x80;
}

/* The size of the character at `at`, 0 if there is no valid one. */
static size_t
scan_character(const uint8_t *at, size_t size)
{
	uint8_t		lead = at[0];
	uint8_t		low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;	/* overlong below */
	uint8_t		high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;	/* surrogates, over U+10FFFF above */
	size_t		length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;

	if (length < 2)
		return length;
	if (length > size || at[1] < low || at[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if (!is_tail(at[i]))
			return 0;
	return length;
}

size_t
atp_utf8_scan(const char *text, size_t size)
{
	const uint8_t *bytes = (const uint8_t *) text;
	size_t		at = 0;

	while (at < size)
	{
		uint64_t	word;
		size_t		length;

		if (size - at >= 8)
		{
			memcpy(&word, bytes + at, 8);
			if ((word & UINT64_C(0x8080808080808080)) == 0)
			{
				at += 8;
				continue;
			}
		}
		if ((length = scan_character(bytes + at, size - at)) == 0)
			break;
		at += length;
	}
	return at;
}

size_t
atp_utf8_encode(uint32_t code_point, char to[ATP_UTF8_MAX])
{
	uint8_t		bytes[ATP_UTF8_MAX];
	size_t		length = code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;

	for (size_t i = length; i-- > 1; code_point >>= 6)
		bytes[i] = (uint8_t) (0x80 | (code_point & 0x3F));
	bytes[0] = (uint8_t) (length == 1 ? code_point : (0xF00u >> length) | code_point);
	memcpy(to, bytes, length);
	return length;
}
