/*
 * Formats of the network. Grammars: RFC 1123 and 5890 (host names), 5321 and 6531 (e-mail), 2673 (IPv4), 4291 (IPv6),
 * 3986 and 3987 (URI, IRI), 6570 (templates). What an internationalised label may contain (RFC 5892 with its contexts,
 * 5893) is asked of libidn2.
 */
#include "postgres.h"

#include <ctype.h>

#include "mb/pg_wchar.h"

#include "record/validator/idna.h"
#include "record/validator/netformat.h"

#define NAME_MAX_BYTES	253
#define LABEL_MAX_BYTES 63
#define LOCAL_PART_MAX_BYTES 64

static inline bool
is_alnum(char c)
{
	return !IS_HIGHBIT_SET(c) && isalnum((unsigned char) c);
}

static inline bool
is_hex(char c)
{
	return !IS_HIGHBIT_SET(c) && isxdigit((unsigned char) c);
}

/* IPv4 in dotted decimal: four octets without superfluous zeroes. */
bool
atp_format_ipv4(const char *text, int len)
{
	const char *end = text + len;

	for (int octet = 0; octet < 4; octet++)
	{
		int			value = 0;
		int			digits = 0;

		if (octet > 0 && (text >= end || *text++ != '.'))
			return false;
		for (; text < end && *text >= '0' && *text <= '9' && digits < 4; digits++)
			value = value * 10 + (*text++ - '0');
		if (digits == 0 || value > 255 || (digits > 1 && text[-digits] == '0'))
			return false;
	}
	return text == end;
}

/* IPv6 in its text forms, without zone or prefix length. */
bool
atp_format_ipv6(const char *text, int len)
{
	const char *end = text + len;
	int			groups = 0;
	bool		gap = false;

	if (len >= 2 && text[0] == ':' && text[1] == ':')
	{
		gap = true;
		text += 2;
	}
	while (text < end)
	{
		const char *start = text;

		while (text < end && text - start < 5 && is_hex(*text))
			text++;
		if (text < end && *text == '.')
		{
			if (!atp_format_ipv4(start, (int) (end - start)))
				return false;
			groups += 2;
			break;
		}
		if (text == start || text - start > 4)
			return false;
		groups++;
		if (text == end)
			break;
		if (*text++ != ':' || text == end)
			return false;
		if (*text == ':')
		{
			if (gap)
				return false;
			gap = true;
			text++;
		}
	}
	return gap ? groups <= 7 : groups == 8;
}

/* A label of letters, digits and inner hyphens (RFC 1123). */
static bool
is_ldh_label(const char *label, int len)
{
	if (len < 1 || len > LABEL_MAX_BYTES || label[0] == '-' || label[len - 1] == '-')
		return false;
	for (int i = 0; i < len; i++)
		if (!is_alnum(label[i]) && label[i] != '-')
			return false;
	return true;
}

static bool
is_ascii(const char *text, int len)
{
	for (int i = 0; i < len; i++)
		if (IS_HIGHBIT_SET(text[i]))
			return false;
	return true;
}

static bool
is_alabel_like(const char *label, int len)
{
	return len >= 4 && pg_strncasecmp(label, "xn--", 4) == 0;
}

/*
 * One label of a name in the form that its first bytes announce. *ascii_len gets its length in ASCII; its Unicode form
 * and a full stop are appended to the name.
 */
static bool
is_label(const char *label, int len, int *ascii_len, StringInfo name)
{
	*ascii_len = len;
	if (!is_ascii(label, len))
		return atp_idna_label_is_valid(label, len, false, ascii_len, name);
	if (!is_ldh_label(label, len))
		return false;
	if (is_alabel_like(label, len))
		return atp_idna_label_is_valid(label, len, true, ascii_len, name);
	appendStringInfo(name, "%.*s.", len, label);
	return true;
}

bool
atp_format_hostname(const char *text, int len)
{
	const char *end = text + len;
	StringInfoData name;
	bool		valid = len >= 1 && len <= NAME_MAX_BYTES && is_ascii(text, len);

	if (!valid)
		return false;
	initStringInfo(&name);
	while (valid && text <= end)
	{
		const char *dot = memchr(text, '.', (size_t) (end - text));
		int			label_len = (int) ((dot ? dot : end) - text);
		int			ascii_len;

		valid = is_label(text, label_len, &ascii_len, &name);
		text += label_len + 1;
	}
	valid = valid && atp_idna_name_is_bidi_valid(name.data, name.len);
	pfree(name.data);
	return valid;
}

/* The separators of RFC 3490: the full stop and its ideographic, fullwidth and halfwidth forms. Returns the length of
 * the one here. */
static int
label_separator(const char *text, const char *end)
{
	if (*text == '.')
		return 1;
	if (end - text >= 3 && (memcmp(text, "\xe3\x80\x82", 3) == 0 || memcmp(text, "\xef\xbc\x8e", 3) == 0 ||
							memcmp(text, "\xef\xbd\xa1", 3) == 0))
		return 3;
	return 0;
}

bool
atp_format_idn_hostname(const char *text, int len)
{
	const char *end = text + len;
	StringInfoData name;
	int			total = -1;
	bool		valid = true;
	bool		more = true;

	initStringInfo(&name);
	while (valid && more)
	{
		const char *stop = text;
		int			label_len;
		int			ascii_len;

		while (stop < end && label_separator(stop, end) == 0)
			stop++;
		label_len = (int) (stop - text);
		valid = is_label(text, label_len, &ascii_len, &name) &&
			!(label_len >= 4 && text[2] == '-' && text[3] == '-' && !is_alabel_like(text, label_len));
		total += ascii_len + 1;
		valid = valid && total <= NAME_MAX_BYTES;
		more = stop < end;
		if (more)
			text = stop + label_separator(stop, end);
	}
	valid = valid && atp_idna_name_is_bidi_valid(name.data, name.len);
	pfree(name.data);
	return valid;
}

static inline bool
is_atext(char c, bool international)
{
	return IS_HIGHBIT_SET(c) ? international : (is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL));
}

/* Local-part: a quoted string or atoms with dots between them. Returns where it ends, or NULL. */
static const char *
read_local_part(const char *text, const char *end, bool international)
{
	bool		dot_allowed = false;

	if (text < end && *text == '"')
	{
		for (text++; text < end && *text != '"'; text++)
		{
			if (*text == '\\' && ++text >= end)
				return NULL;
			if (IS_HIGHBIT_SET(*text) ? !international : (*text < 32 || *text > 126))
				return NULL;
		}
		return text < end ? text + 1 : NULL;
	}
	for (; text < end && *text != '@'; text++)
	{
		if (*text == '.' ? !dot_allowed : !is_atext(*text, international))
			return NULL;
		dot_allowed = *text != '.';
	}
	return dot_allowed ? text : NULL;
}

/* The domain of an address; an internationalised one is taken as it comes, as mail software normalises it only later.
 */
static bool
is_mail_domain(const char *text, int len, bool international)
{
	const char *end = text + len;

	if (len > 2 && text[0] == '[' && end[-1] == ']')
	{
		if (len > 7 && pg_strncasecmp(text + 1, "IPv6:", 5) == 0)
			return atp_format_ipv6(text + 6, len - 7);
		return atp_format_ipv4(text + 1, len - 2);
	}
	if (len > (international ? 4 : 1) * NAME_MAX_BYTES)
		return false;
	for (;;)
	{
		const char *dot = memchr(text, '.', (size_t) (end - text));
		int			label_len = (int) ((dot ? dot : end) - text);

		if (international && !is_ascii(text, label_len))
		{
			if (text[0] == '-' || text[label_len - 1] == '-')
				return false;
			for (int i = 0; i < label_len; i++)
				if (!IS_HIGHBIT_SET(text[i]) && !is_alnum(text[i]) && text[i] != '-')
					return false;
		}
		else if (!is_ldh_label(text, label_len))
			return false;
		if (dot == NULL)
			return true;
		text = dot + 1;
	}
}

static bool
is_mailbox(const char *text, int len, bool international)
{
	const char *end = text + len;
	const char *at = read_local_part(text, end, international);

	return at != NULL && at < end && *at == '@' && at - text <= LOCAL_PART_MAX_BYTES &&
		is_mail_domain(at + 1, (int) (end - at - 1), international);
}

bool
atp_format_email(const char *text, int len)
{
	return is_mailbox(text, len, false);
}

bool
atp_format_idn_email(const char *text, int len)
{
	return is_mailbox(text, len, true);
}

/* ucschar of RFC 3987, and iprivate where private is true. */
static bool
is_iri_character(uint32 c, bool private)
{
	if (c >= 0x10000)
		return (c & 0xFFFF) <= 0xFFFD && (c < 0xE0000 ? true : c >= 0xE1000 ? c < 0xF0000 || private : false);
	return (c >= 0xA0 && c <= 0xD7FF) || (c >= 0xF900 && c <= 0xFDCF) || (c >= 0xFDF0 && c <= 0xFFEF) ||
		(private && c >= 0xE000 && c <= 0xF8FF);
}

/*
 * Are all characters unreserved, sub-delims, %XX, of `extra`, or (iri) of other scripts?
 */
static bool
is_uri_text(const char *text, const char *end, const char *extra, bool iri, bool private)
{
	while (text < end)
	{
		if (IS_HIGHBIT_SET(*text))
		{
			if (!iri || !is_iri_character((uint32) utf8_to_unicode((const unsigned char *) text), private))
				return false;
			text += pg_utf_mblen((const unsigned char *) text);
			continue;
		}
		if (*text == '%')
		{
			if (end - text < 3 || !is_hex(text[1]) || !is_hex(text[2]))
				return false;
			text += 3;
			continue;
		}
		if (!is_alnum(*text) &&
			(*text == '\0' || (strchr("-._~!$&'()*+,;=", *text) == NULL && strchr(extra, *text) == NULL)))
			return false;
		text++;
	}
	return true;
}

/* IP-literal without its brackets: an IPv6 address or IPvFuture. */
static bool
is_ip_literal(const char *text, const char *end)
{
	const char *dot;

	if (text >= end || (*text | 0x20) != 'v')
		return atp_format_ipv6(text, (int) (end - text));
	dot = memchr(text, '.', (size_t) (end - text));
	if (dot == NULL || dot == text + 1 || dot + 1 == end || memchr(dot, '%', (size_t) (end - dot)))
		return false;
	for (text++; text < dot; text++)
		if (!is_hex(*text))
			return false;
	return is_uri_text(dot + 1, end, ":", false, false);
}

/* [ userinfo "@" ] host [ ":" port ] */
static bool
is_authority(const char *text, const char *end, bool iri)
{
	const char *at = memchr(text, '@', (size_t) (end - text));
	const char *port = end;

	if (at)
	{
		if (!is_uri_text(text, at, ":", iri, false))
			return false;
		text = at + 1;
	}
	while (port > text && port[-1] >= '0' && port[-1] <= '9')
		port--;
	if (port > text && port[-1] == ':')
		end = port - 1;
	if (text < end && *text == '[')
		return end[-1] == ']' && is_ip_literal(text + 1, end - 1);
	return is_uri_text(text, end, "", iri, false);
}

static const char *
find_any(const char *text, const char *end, const char *stops)
{
	while (text < end && (*text == '\0' || strchr(stops, *text) == NULL))
		text++;
	return text;
}

/* URI or, where a scheme is not demanded, URI-reference; in the characters of an IRI if iri. */
static bool
is_uri(const char *text, int len, bool need_scheme, bool iri)
{
	const char *end = text + len;
	const char *hash = find_any(text, end, "#");
	const char *question = find_any(text, hash, "?");
	const char *colon = find_any(text, question, ":/");

	if (hash < end && !is_uri_text(hash + 1, end, ":@/?", iri, false))
		return false;
	if (question < hash && !is_uri_text(question + 1, hash, ":@/?", iri, true))
		return false;
	if (colon < question && *colon == ':')
	{
		if (colon == text || !is_alnum(*text) || (*text >= '0' && *text <= '9'))
			return false;		/* no scheme, and the first segment of a relative path has no colon */
		for (; text < colon; text++)
			if (!is_alnum(*text) && *text != '+' && *text != '-' && *text != '.')
				return false;
		text++;
	}
	else if (need_scheme)
		return false;
	if (question - text >= 2 && text[0] == '/' && text[1] == '/')
	{
		const char *slash = find_any(text + 2, question, "/");

		if (!is_authority(text + 2, slash, iri))
			return false;
		text = slash;
	}
	return is_uri_text(text, question, ":@/", iri, false);
}

bool
atp_format_uri(const char *text, int len)
{
	return is_uri(text, len, true, false);
}

bool
atp_format_uri_reference(const char *text, int len)
{
	return is_uri(text, len, false, false);
}

bool
atp_format_iri(const char *text, int len)
{
	return is_uri(text, len, true, true);
}

bool
atp_format_iri_reference(const char *text, int len)
{
	return is_uri(text, len, false, true);
}

/* varspec of RFC 6570. Returns where it ends, or NULL. */
static const char *
read_varspec(const char *text, const char *end)
{
	bool		dot_allowed = false;
	int			digits = 0;

	for (; text < end; text++)
	{
		if (*text == '.' && dot_allowed)
		{
			dot_allowed = false;
			continue;
		}
		if (*text == '%' && end - text >= 3 && is_hex(text[1]) && is_hex(text[2]))
			text += 2;
		else if (!is_alnum(*text) && *text != '_')
			break;
		dot_allowed = true;
	}
	if (!dot_allowed)
		return NULL;
	if (text < end && *text == '*')
		return text + 1;
	if (text < end && *text == ':')
	{
		for (text++; text < end && *text >= '0' && *text <= '9'; text++)
			digits++;
		if (digits < 1 || digits > 4 || text[-digits] == '0')
			return NULL;
	}
	return text;
}

bool
atp_format_uri_template(const char *text, int len)
{
	const char *end = text + len;

	while (text < end)
	{
		if (*text == '{')
		{
			text++;
			if (text < end && *text != '\0' && strchr("+#./;?&=,!@|", *text))
				text++;
			do
			{
				text = read_varspec(text, end);
				if (text == NULL || text >= end)
					return false;
			} while (*text++ == ',');
			if (text[-1] != '}')
				return false;
		}
		else if (IS_HIGHBIT_SET(*text))
		{
			if (!is_iri_character((uint32) utf8_to_unicode((const unsigned char *) text), true))
				return false;
			text += pg_utf_mblen((const unsigned char *) text);
		}
		else if (*text == '%')
		{
			if (end - text < 3 || !is_hex(text[1]) || !is_hex(text[2]))
				return false;
			text += 3;
		}
		else if (*text <= ' ' || *text == 0x7f || strchr("\"'<>\\^`|}", *text))
			return false;
		else
			text++;
	}
	return true;
}
