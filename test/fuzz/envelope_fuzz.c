/*
 * Fuzz target of core/ulid, core/tracecontext and core/utf8: no memory error, no undefined behaviour, and what parses can be put
 * together again from its parts.
 */
#include "fuzz.h"

#include "core/tracecontext.h"
#include "core/ulid.h"
#include "core/utf8.h"

static void
try_ulid(const char *text, size_t size)
{
	uint8_t		id[ATP_ULID_SIZE];
	uint8_t		again[ATP_ULID_SIZE];
	char		written[ATP_ULID_TEXT_SIZE];

	if (!atp_ulid_parse(text, size, id))
		return;
	expect(size == ATP_ULID_TEXT_SIZE && atp_ulid_time(id) <= ATP_ULID_MAX_TIME, "no ULID, but parsed");
	atp_ulid_format(id, written);
	expect(atp_ulid_parse(written, sizeof(written), again) && memcmp(id, again, sizeof(id)) == 0, "a ULID is not what it is written as");
	if (atp_ulid_increment(again))
		expect(memcmp(again, id, sizeof(id)) > 0 && atp_ulid_time(again) == atp_ulid_time(id), "the next ULID is not after it");
}

static void
try_traceparent(const char *text, size_t size)
{
	AtpTraceparent parts;
	bool		parsed = atp_traceparent_parse(text, size, &parts);

	if (!parsed)
	{
		expect(!atp_traceparent_is_valid(text, size), "valid, but not parsed");
		return;
	}
	expect(parts.version >= text && parts.flags + 2 <= text + size, "a part lies outside the text");
	expect(parts.trace_id == parts.version + 3 && parts.parent_id == parts.trace_id + ATP_TRACE_ID_SIZE + 1 &&
		   parts.flags == parts.parent_id + ATP_PARENT_ID_SIZE + 1, "parts out of place");
}

static void
try_tracestate(const char *text, size_t size)
{
	AtpTraceMember members[ATP_TRACESTATE_MAX_MEMBERS];
	AtpTraceMember again[ATP_TRACESTATE_MAX_MEMBERS];
	int			count = atp_tracestate_parse(text, size, members);
	char	   *joined = malloc(size + ATP_TRACESTATE_MAX_MEMBERS + 1);
	size_t		at = 0;

	expect(count >= -1 && count <= ATP_TRACESTATE_MAX_MEMBERS, "a count that cannot be");
	expect(atp_tracestate_is_valid(text, size) == (count >= 0) || count == 0, "valid and parsed differ");
	for (int i = 0; i < count; i++)
	{
		at += (size_t) snprintf(joined + at, size + ATP_TRACESTATE_MAX_MEMBERS + 1 - at, "%.*s=%.*s,", (int) members[i].key_size, members[i].key,
								(int) members[i].value_size, members[i].value);
		expect(memchr(members[i].key, '=', members[i].key_size) == NULL && members[i].value_size > 0, "a member that is none");
	}
	expect(count < 0 || atp_tracestate_parse(joined, at, again) == count, "members put together are others");
	free(joined);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *exact = malloc(size > 0 ? size : 1);	/* without a byte to spare, for ASan to see */

	if (size > 0)
		memcpy(exact, data, size);
	try_ulid(exact, size);
	try_traceparent(exact, size);
	try_tracestate(exact, size);
	expect(atp_utf8_scan(exact, size) <= size && atp_utf8_is_valid(exact, size) == (atp_utf8_scan(exact, size) == size), "UTF-8 scan");
	free(exact);
	return 0;
}

static const char *const seeds[] = {
	"01ARZ3NDEKTSV4RRFFQ69G5FAV", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01arz3ndektsv4rrffq69g5fav",
	"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
	"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "a@b=1 , _x-y*/z@vendor=value with space\t,,k=v",
	"a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1,j=1,k=1,l=1,m=1,n=1,o=1,p=1,q=1,r=1,s=1,t=1,u=1,v=1,w=1,x=1,y=1,z=1,aa=1,ab=1,ac=1,ad=1,ae=1,af=1",
	"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x82 ASCII in between, longer than a word\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"
};
static const char *const pieces[] = {
	"=", ",", "@", " ", "\t", "-", "00", "ff", "a=1,", "U", "I", "L", "O", "8", "\x7f", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80"
};

FUZZ_MAIN(seeds, pieces)
