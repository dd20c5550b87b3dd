/* See text.h. */
#include "log/projection/text.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "core/hash.h"
#include "pg/compat.h"

#define TEXT_MAX 255			/* bytes of a text in an index; longer ones are cut to TEXT_CUT and marked */
#define TEXT_CUT 236
#define TEXT_DIGEST 8			/* bytes of the hash that marks them, in hexadecimal */

Datum
atp_search_text(const char *text, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	uint8		hash[ATP_HASH_SIZE];
	char		cut[TEXT_MAX];
	int			length;

	if (size <= TEXT_MAX)
		return PointerGetDatum(cstring_to_text_with_len(text, (int) size));
	if (!atp_sha256(text, size, hash))
		ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed in OpenSSL"));
	length = pg_mbcliplen(text, (int) size, TEXT_CUT);
	memcpy(cut, text, length);
	memcpy(cut + length, "\xe2\x80\xa6", 3);	/* … */
	length += 3;
	for (int i = 0; i < TEXT_DIGEST; i++)
	{
		cut[length++] = digits[hash[i] >> 4];
		cut[length++] = digits[hash[i] & 0x0f];
	}
	return PointerGetDatum(cstring_to_text_with_len(cut, length));
}
