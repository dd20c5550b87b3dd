/*
 * Formats: the table of their names, and those of times, pointers and identifiers. Each check follows the grammar of
 * the document that JSON Schema names for it (RFC 3339 for times and durations, 4122 for UUIDs, 6901 for pointers), to
 * the letter and in ASCII.
 */
#include "postgres.h"

#include "record/validator/format.h"
#include "record/validator/netformat.h"
#include "record/validator/pattern.h"

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads n digits at *at; -1 if they are not there. */
static int
read_digits(const char **at, const char *end, int n)
{
	int			value = 0;

	if (end - *at < n)
		return -1;
	for (int i = 0; i < n; i++)
	{
		char		c = *(*at)++;

		if (!is_digit(c))
			return -1;
		value = value * 10 + (c - '0');
	}
	return value;
}

static bool
read_char(const char **at, const char *end, char c)
{
	if (*at >= end || **at != c)
		return false;
	(*at)++;
	return true;
}

/* full-date */
static bool
read_date(const char **at, const char *end)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int			year,
				month,
				day;
	bool		leap;

	if ((year = read_digits(at, end, 4)) < 0 || !read_char(at, end, '-') ||
		(month = read_digits(at, end, 2)) < 1 || month > 12 || !read_char(at, end, '-') ||
		(day = read_digits(at, end, 2)) < 1)
		return false;
	leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return day <= days[month - 1] + (month == 2 && leap ? 1 : 0);
}

/* full-time. A leap second is one only in the last minute of a day of UTC. */
static bool
read_time(const char **at, const char *end)
{
	int			hour,
				minute,
				second,
				offset = 0;

	if ((hour = read_digits(at, end, 2)) < 0 || hour > 23 || !read_char(at, end, ':') ||
		(minute = read_digits(at, end, 2)) < 0 || minute > 59 || !read_char(at, end, ':') ||
		(second = read_digits(at, end, 2)) < 0 || second > 60)
		return false;
	if (read_char(at, end, '.'))
	{
		if (*at >= end || !is_digit(**at))
			return false;
		while (*at < end && is_digit(**at))
			(*at)++;
	}
	if (*at >= end)
		return false;
	if (**at == 'Z' || **at == 'z')
		(*at)++;
	else if (**at == '+' || **at == '-')
	{
		int			sign = *(*at)++ == '+' ? 1 : -1;
		int			offset_hour,
					offset_minute;

		if ((offset_hour = read_digits(at, end, 2)) < 0 || offset_hour > 23 || !read_char(at, end, ':') ||
			(offset_minute = read_digits(at, end, 2)) < 0 || offset_minute > 59)
			return false;
		offset = sign * (offset_hour * 60 + offset_minute);
	}
	else
		return false;
	return second < 60 || ((hour * 60 + minute - offset) % 1440 + 1440) % 1440 == 1439;
}

static bool
check_date(const char *text, int len)
{
	const char *end = text + len;

	return read_date(&text, end) && text == end;
}

static bool
check_time(const char *text, int len)
{
	const char *end = text + len;

	return read_time(&text, end) && text == end;
}

static bool
check_date_time(const char *text, int len)
{
	const char *end = text + len;

	return read_date(&text, end) && (read_char(&text, end, 'T') || read_char(&text, end, 't')) &&
		read_time(&text, end) && text == end;
}

/*
 * Reads numbers with units, each unit the one right after that before it, as the grammar of RFC 3339 appendix A has it.
 * Returns how many there were, or -1.
 */
static int
read_duration_units(const char **at, const char *end, const char *units)
{
	int			count = 0;
	const char *last = NULL;

	while (*at < end && is_digit(**at))
	{
		const char *unit;

		while (*at < end && is_digit(**at))
			(*at)++;
		if (*at >= end || (unit = strchr(units, **at)) == NULL || (last != NULL && unit != last + 1))
			return -1;
		last = unit;
		(*at)++;
		count++;
	}
	return count;
}

static bool
check_duration(const char *text, int len)
{
	const char *end = text + len;
	int			dates;

	if (!read_char(&text, end, 'P'))
		return false;
	if (len > 1 && text[0] != 'T' && end[-1] == 'W')
		return read_duration_units(&text, end, "W") == 1 && text == end;
	dates = read_duration_units(&text, end, "YMD");
	if (dates < 0)
		return false;
	if (text == end)
		return dates > 0;
	return read_char(&text, end, 'T') && read_duration_units(&text, end, "HMS") > 0 && text == end;
}

static bool
check_uuid(const char *text, int len)
{
	if (len != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		bool		dash = i == 8 || i == 13 || i == 18 || i == 23;
		char		lower = text[i] | 0x20;

		if (dash ? text[i] != '-' : !is_digit(text[i]) && !(lower >= 'a' && lower <= 'f'))
			return false;
	}
	return true;
}

static bool
check_json_pointer(const char *text, int len)
{
	if (len > 0 && text[0] != '/')
		return false;
	for (int i = 0; i < len; i++)
		if (text[i] == '~' && (i + 1 == len || (text[i + 1] != '0' && text[i + 1] != '1')))
			return false;
	return true;
}

/* Reads a number without superfluous zeroes. */
static bool
read_plain_number(const char **at, const char *end)
{
	const char *start = *at;

	while (*at < end && is_digit(**at))
		(*at)++;
	return *at > start && (*start != '0' || *at == start + 1);
}

static bool
check_relative_json_pointer(const char *text, int len)
{
	const char *end = text + len;

	if (!read_plain_number(&text, end))
		return false;
	if (text < end && (*text == '+' || *text == '-'))
	{
		text++;
		if (text >= end || *text == '0' || !read_plain_number(&text, end))
			return false;
	}
	if (text + 1 == end && *text == '#')
		return true;
	return check_json_pointer(text, (int) (end - text));
}

static const struct
{
	const char *name;
	AtpFormatCheck check;
}			formats[] = {
	{"date-time", check_date_time}, {"date", check_date}, {"time", check_time}, {"duration", check_duration},
	{"email", atp_format_email}, {"idn-email", atp_format_idn_email},
	{"hostname", atp_format_hostname}, {"idn-hostname", atp_format_idn_hostname},
	{"ipv4", atp_format_ipv4}, {"ipv6", atp_format_ipv6},
	{"uri", atp_format_uri}, {"uri-reference", atp_format_uri_reference},
	{"iri", atp_format_iri}, {"iri-reference", atp_format_iri_reference}, {"uri-template", atp_format_uri_template},
	{"uuid", check_uuid}, {"json-pointer", check_json_pointer}, {"relative-json-pointer", check_relative_json_pointer},
	{"regex", atp_pattern_is_valid},
};

/* The check of a format, or NULL: an unknown format asserts nothing. */
AtpFormatCheck
atp_format_find(const char *name, int len)
{
	for (int i = 0; i < lengthof(formats); i++)
		if ((int) strlen(formats[i].name) == len && memcmp(formats[i].name, name, (size_t) len) == 0)
			return formats[i].check;
	return NULL;
}
