/* Strict base 64; see base64.h. */
#include "core/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
atp_base64_encode(AtpBuf *out, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i += 3)
	{
		size_t		left = size - i;
		uint32_t	group = (uint32_t) bytes[i] << 16 | (left > 1 ? (uint32_t) bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);

		atp_buf_byte(out, (uint8_t) alphabet[group >> 18]);
		atp_buf_byte(out, (uint8_t) alphabet[group >> 12 & 63]);
		atp_buf_byte(out, (uint8_t) (left > 1 ? alphabet[group >> 6 & 63] : '='));
		atp_buf_byte(out, (uint8_t) (left > 2 ? alphabet[group & 63] : '='));
	}
}

static int
value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool
atp_base64_decode(const char *text, size_t size, uint8_t *out, size_t room, size_t *decoded)
{
	size_t		padding = 0;

	*decoded = 0;
	if (size % 4 != 0)
		return false;
	if (size > 0 && text[size - 1] == '=')
		padding = text[size - 2] == '=' ? 2 : 1;
	if (out != NULL && size / 4 * 3 - padding > room)
		return false;
	for (size_t i = 0; i < size; i += 4)
	{
		size_t		bytes = i + 4 < size ? 3 : 3 - padding;
		uint32_t	group = 0;

		for (size_t j = 0; j < 4; j++)
		{
			int			value = j <= bytes ? value_of(text[i + j]) : 0;

			if (value < 0)
				return false;
			group = group << 6 | (uint32_t) value;
		}
		if ((group & (0xffffffu >> (8 * bytes))) != 0)
			return false;
		for (size_t j = 0; out != NULL && j < bytes; j++)
			out[*decoded + j] = (uint8_t) (group >> (16 - 8 * j));
		*decoded += bytes;
	}
	return true;
}
