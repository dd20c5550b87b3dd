/*
 * URI references (RFC 3986 section 5.2): resolution against a base. Identifiers of schemas are compared as text after
 * resolution; the only normalisation is that of the dot segments. An empty base is that of a document without a name: a
 * reference is then its own target.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "record/validator/uri.h"

/* The five parts of a reference (RFC 3986 appendix B), each a span of the text; start NULL: undefined. */
typedef struct Span
{
	const char *start;
	int			len;
} Span;

typedef struct UriParts
{
	Span		scheme;
	Span		authority;
	Span		path;
	Span		query;
	Span		fragment;
} UriParts;

/* The span from start up to the first of the stop characters; the text goes on behind it. */
static Span
span_until(const char *start, const char *stops)
{
	Span		span = {start, (int) strcspn(start, stops)};

	return span;
}

static UriParts
split(const char *text)
{
	UriParts	parts = {0};
	Span		first = span_until(text, ":/?#");

	if (text[first.len] == ':' && first.len > 0)
	{
		parts.scheme = first;
		text += first.len + 1;
	}
	if (text[0] == '/' && text[1] == '/')
	{
		parts.authority = span_until(text + 2, "/?#");
		text += 2 + parts.authority.len;
	}
	parts.path = span_until(text, "?#");
	text += parts.path.len;
	if (*text == '?')
	{
		parts.query = span_until(text + 1, "#");
		text += 1 + parts.query.len;
	}
	if (*text == '#')
		parts.fragment = span_until(text + 1, "");
	return parts;
}

static void
append_span(StringInfo out, const char *before, Span span, const char *after)
{
	if (span.start == NULL)
		return;
	appendStringInfoString(out, before);
	appendBinaryStringInfo(out, span.start, span.len);
	appendStringInfoString(out, after);
}

/* RFC 3986 section 5.2.4: appends the path without its dot segments. */
static void
append_without_dots(StringInfo out, const char *path, int len)
{
	int			root = out->len;
	const char *end = path + len;

	while (path < end)
	{
		const char *segment = *path == '/' ? path + 1 : path;
		const char *next = segment;
		int			segment_len;

		while (next < end && *next != '/')
			next++;
		segment_len = (int) (next - segment);
		if ((segment_len == 1 && segment[0] == '.') || (segment_len == 2 && segment[0] == '.' && segment[1] == '.'))
		{
			bool		leading = segment == path;

			while (segment_len == 2 && out->len > root && out->data[out->len - 1] != '/')
				out->len--;
			if (segment_len == 2 && out->len > root)
				out->len--;
			out->data[out->len] = '\0';
			if (leading && next < end)
				next++;			/* of a relative path nothing is left before this, not even its slash */
			else if (!leading && next == end)
				appendStringInfoChar(out, '/');
		}
		else
			appendBinaryStringInfo(out, path, (int) (next - path));
		path = next;
	}
}

/* The path of a relative reference against that of its base (section 5.2.3), without dot segments. */
static void
append_merged_path(StringInfo out, const UriParts *base, Span path)
{
	StringInfoData merged;
	int			keep = base->path.len;

	initStringInfo(&merged);
	if (base->authority.start != NULL && base->path.len == 0)
		appendStringInfoChar(&merged, '/');
	else
	{
		while (keep > 0 && base->path.start[keep - 1] != '/')
			keep--;
		appendBinaryStringInfo(&merged, base->path.start, keep);
	}
	appendBinaryStringInfo(&merged, path.start, path.len);
	append_without_dots(out, merged.data, merged.len);
	pfree(merged.data);
}

/* Resolves a reference; the result is palloc'd. */
char *
atp_uri_resolve(const char *base, const char *reference)
{
	UriParts	b = split(base);
	UriParts	r = split(reference);
	StringInfoData out;

	initStringInfo(&out);
	append_span(&out, "", r.scheme.start ? r.scheme : b.scheme, ":");
	if (r.scheme.start || r.authority.start)
	{
		append_span(&out, "//", r.authority, "");
		append_without_dots(&out, r.path.start, r.path.len);
		append_span(&out, "?", r.query, "");
	}
	else
	{
		append_span(&out, "//", b.authority, "");
		if (r.path.len == 0)
		{
			append_span(&out, "", b.path, "");
			append_span(&out, "?", r.query.start ? r.query : b.query, "");
		}
		else
		{
			if (r.path.start[0] == '/')
				append_without_dots(&out, r.path.start, r.path.len);
			else
				append_merged_path(&out, &b, r.path);
			append_span(&out, "?", r.query, "");
		}
	}
	append_span(&out, "#", r.fragment, "");
	return out.data;
}

/* A copy of the URI up to its fragment; *fragment (if asked for) points behind the # of the original, NULL where there
 * is none. */
char *
atp_uri_without_fragment(const char *uri, const char **fragment)
{
	size_t		len = strcspn(uri, "#");

	if (fragment)
		*fragment = uri[len] == '#' ? uri + len + 1 : NULL;
	return pnstrdup(uri, len);
}

/* Has the URI a scheme? */
bool
atp_uri_is_absolute(const char *uri)
{
	return split(uri).scheme.start != NULL;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %XX; anything else stays. The result is palloc'd. */
char *
atp_uri_percent_decode(const char *text)
{
	char	   *result = pstrdup(text);
	char	   *out = result;

	for (const char *in = text; *in; in++)
	{
		if (in[0] == '%' && hex_digit(in[1]) >= 0 && hex_digit(in[2]) >= 0)
		{
			*out++ = (char) (hex_digit(in[1]) * 16 + hex_digit(in[2]));
			in += 2;
		}
		else
			*out++ = *in;
	}
	*out = '\0';
	return result;
}
