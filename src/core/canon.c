/*
 * The canonical JSON writer; see canon.h.
 *
 * A number is taken apart into its significant digits and the place of its point (value = 0.DIGITS x 10^point) and laid
 * out as ECMA-262 Number::toString does. For the RFC 8785 profile the digits are first replaced by the fewest that give
 * the same double, and of those the closest to it. A decimal of up to 15 significant digits in the normal range is that already
 * (DBL_DIG), so only longer ones pass through strtod.
 */
#include "core/canon.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A double, or the middle of two, has at most 767 significant digits: beyond these it only matters whether any is not 0. */
#define DIGITS_MAX 800
/* Decimal exponents of at most so many digits are computed in an int64, longer ones on their digits. */
#define EXPONENT_DIGITS 18
/* An integer of so many digits stands as it is, in both profiles. */
#define PLAIN_DIGITS 15

typedef struct Decimal
{
	bool		negative;
	const char *part[2];		/* the digits, before and after the point of the text */
	size_t		size[2];
	int64_t		point;			/* without `exponent` if that is not NULL */
	const char *exponent;		/* digits of an exponent too long for an int64, no leading zeros */
	size_t		exponent_size;
	bool		exponent_negative;
} Decimal;

static const char hex[] = "0123456789abcdef";

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Whether any of eight bytes needs an escape; a byte that follows one that does may seem to. */
static inline bool
needs_escape(uint64_t word)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t	quote = word ^ (ones * '"');
	uint64_t	backslash = word ^ (ones * '\\');

	return ((((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) &
			(ones * 0x80)) != 0;
}

size_t
atp_canon_plain_run(const char *utf8, size_t size)
{
	size_t		at = 0;

	for (; size - at >= sizeof(uint64_t); at += sizeof(uint64_t))
	{
		uint64_t	word;

		memcpy(&word, utf8 + at, sizeof(word));
		if (needs_escape(word))
			break;
	}
	while (at < size && (uint8_t) utf8[at] >= 0x20 && utf8[at] != '"' && utf8[at] != '\\')
		at++;
	return at;
}

static void
write_escape(AtpBuf *out, uint8_t byte)
{
	char		escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
	char		letter = byte == '"' || byte == '\\' ? (char) byte
		: byte == '\b' ? 'b' : byte == '\t' ? 't' : byte == '\n' ? 'n' : byte == '\f' ? 'f' : byte == '\r' ? 'r' : 0;

	if (letter != 0)
		escape[1] = letter;
	atp_buf_append(out, escape, letter != 0 ? 2 : 6);
}

/* Copies a string that needs no escape; false, and nothing that counts is written, if it does. Loads overlap at the end. */
static inline bool
copy_plain(uint8_t *to, const char *utf8, size_t size)
{
	uint64_t	word = UINT64_C(0x2020202020202020);

	if (size >= sizeof(word))
	{
		for (size_t at = 0; at < size - sizeof(word); at += sizeof(word))
		{
			memcpy(&word, utf8 + at, sizeof(word));
			if (needs_escape(word))
				return false;
			memcpy(to + at, &word, sizeof(word));
		}
		memcpy(&word, utf8 + size - sizeof(word), sizeof(word));
		memcpy(to + size - sizeof(word), &word, sizeof(word));
	}
	else if (size >= sizeof(uint32_t))
	{
		uint32_t	half[2];

		memcpy(&half[0], utf8, sizeof(half[0]));
		memcpy(&half[1], utf8 + size - sizeof(half[1]), sizeof(half[1]));
		memcpy(to, &half[0], sizeof(half[0]));
		memcpy(to + size - sizeof(half[1]), &half[1], sizeof(half[1]));
		word = (uint64_t) half[0] << 32 | half[1];
	}
	else
	{
		for (size_t at = 0; at < size; at++)
		{
			to[at] = (uint8_t) utf8[at];
			word = word << 8 | to[at];
		}
	}
	return !needs_escape(word);
}

/* What has an escape, after the opening quote. */
static void
write_escaped(AtpBuf *out, const char *utf8, size_t size)
{
	size_t		run;

	while ((run = atp_canon_plain_run(utf8, size)) < size)
	{
		atp_buf_append(out, utf8, run);
		write_escape(out, (uint8_t) utf8[run]);
		utf8 += run + 1;
		size -= run + 1;
	}
	atp_buf_append(out, utf8, size);
	atp_buf_byte(out, '"');
}

void
atp_canon_string(AtpBuf *out, const char *utf8, size_t size)
{
	uint8_t    *to;

	if (size + 2 > out->room - out->size && !atp_buf_reserve(out, size + 2))
		return;
	to = out->data + out->size;
	*to++ = '"';
	out->size++;
	if (copy_plain(to, utf8, size))
	{
		to[size] = '"';
		out->size += size + 1;
	}
	else
		write_escaped(out, utf8, size);
}

void
atp_canon_name(AtpBuf *out, char lead, const char *utf8, size_t size)
{
	uint8_t    *to;

	if (size + 4 > out->room - out->size && !atp_buf_reserve(out, size + 4))
		return;
	to = out->data + out->size;
	*to++ = (uint8_t) lead;
	*to++ = '"';
	out->size += 2;
	if (copy_plain(to, utf8, size))
	{
		to[size] = '"';
		to[size + 1] = ':';
		out->size += size + 2;
	}
	else
	{
		write_escaped(out, utf8, size);
		atp_buf_byte(out, ':');
	}
}

/* Takes a number apart; returns how many bytes it has, 0 if there is none. Zeros at both ends of the digits stay. */
static size_t
scan_number(const char *text, size_t size, Decimal *number)
{
	size_t		at = 0;
	size_t		end;

	*number = (Decimal) {.negative = size > 0 && text[0] == '-'};
	at += number->negative;
	number->part[0] = text + at;
	while (at < size && is_digit(text[at]))
		at++;
	number->size[0] = (size_t) (text + at - number->part[0]);
	if (number->size[0] > 1 && number->part[0][0] == '0')	/* the zero is a number, what follows is not part of it */
	{
		number->size[0] = 1;
		return (size_t) number->negative + 1;
	}
	if (number->size[0] == 0)
		return 0;
	number->point = (int64_t) number->size[0];
	number->part[1] = text + at;
	if (at + 1 < size && text[at] == '.' && is_digit(text[at + 1]))
	{
		number->part[1] = text + ++at;
		while (at < size && is_digit(text[at]))
			at++;
		number->size[1] = (size_t) (text + at - number->part[1]);
	}

	end = at;
	if (end == size || (text[end] | 0x20) != 'e')
		return at;
	if (++end < size && (text[end] == '+' || text[end] == '-'))
		number->exponent_negative = text[end++] == '-';
	if (end == size || !is_digit(text[end]))
		return at;
	while (end + 1 < size && text[end] == '0' && is_digit(text[end + 1]))
		end++;
	number->exponent = text + end;
	while (end < size && is_digit(text[end]))
		end++;
	number->exponent_size = (size_t) (text + end - number->exponent);
	return end;
}

/* Strips the zeros at both ends of the digits, and adds an exponent of ordinary size to `point`. */
static void
normalize(Decimal *number)
{
	for (int i = 0; i < 2; i++)
	{
		while (number->size[i] > 0 && number->part[i][0] == '0')
		{
			number->part[i]++;
			number->size[i]--;
			number->point--;
		}
		if (number->size[i] > 0)
			break;
	}
	for (int i = 1; i >= 0; i--)
	{
		while (number->size[i] > 0 && number->part[i][number->size[i] - 1] == '0')
			number->size[i]--;
		if (number->size[i] > 0)
			break;
	}
	if (number->exponent != NULL && number->exponent_size <= EXPONENT_DIGITS)
	{
		int64_t		exponent = 0;

		for (size_t i = 0; i < number->exponent_size; i++)
			exponent = exponent * 10 + (number->exponent[i] - '0');
		number->point += number->exponent_negative ? -exponent : exponent;
		number->exponent = NULL;
	}
}

static inline size_t
digit_count(const Decimal *number)
{
	return number->size[0] + number->size[1];
}

/* Appends `count` digits from the one at `from` on. */
static void
write_digits(AtpBuf *out, const Decimal *number, size_t from, size_t count)
{
	if (from < number->size[0])
	{
		size_t		first = count < number->size[0] - from ? count : number->size[0] - from;

		atp_buf_append(out, number->part[0] + from, first);
		from += first;
		count -= first;
	}
	if (count > 0)
		atp_buf_append(out, number->part[1] + (from - number->size[0]), count);
}

static void
write_zeros(AtpBuf *out, int64_t count)
{
	while (count-- > 0)
		atp_buf_byte(out, '0');
}

/*
 * Writes the exponent digits + delta, in place on the digits: there are more than EXPONENT_DIGITS of them, so that delta,
 * bounded by the length of a text in memory, cannot change the sign.
 */
static void
write_long_exponent(AtpBuf *out, const char *digits, size_t size, int64_t delta)
{
	size_t		start = out->size;
	uint8_t    *to;
	size_t		zeros = 0;

	atp_buf_byte(out, '0');		/* for the carry */
	atp_buf_append(out, digits, size);
	if (out->failed)
		return;
	to = out->data + start;
	for (size_t i = size + 1; i-- > 0 && delta != 0;)
	{
		int64_t		sum = to[i] - '0' + delta;
		int64_t		digit = (sum % 10 + 10) % 10;

		to[i] = (uint8_t) ('0' + digit);
		delta = (sum - digit) / 10;
	}
	while (to[zeros] == '0')
		zeros++;
	memmove(to, to + zeros, size + 1 - zeros);
	out->size -= zeros;
}

static void
write_exponent(AtpBuf *out, const Decimal *number)
{
	char		digits[24];
	int64_t		exponent = number->point - 1;
	int			length;

	atp_buf_byte(out, 'e');
	if (number->exponent != NULL)
	{
		atp_buf_byte(out, number->exponent_negative ? '-' : '+');
		write_long_exponent(out, number->exponent, number->exponent_size,
							number->exponent_negative ? -exponent : exponent);
		return;
	}
	length = snprintf(digits, sizeof(digits), "%+lld", (long long) exponent);
	atp_buf_append(out, digits, (size_t) length);
}

/* ECMA-262 Number::toString for a number that is not zero: k digits, the point after the n-th. */
static void
write_layout(AtpBuf *out, const Decimal *number)
{
	size_t		k = digit_count(number);
	int64_t		n = number->point;

	if (number->negative)
		atp_buf_byte(out, '-');
	if (number->exponent != NULL || n > 21 || n <= -6)
	{
		write_digits(out, number, 0, 1);
		if (k > 1)
		{
			atp_buf_byte(out, '.');
			write_digits(out, number, 1, k - 1);
		}
		write_exponent(out, number);
	}
	else if (n <= 0)
	{
		atp_buf_append(out, "0.", 2);
		write_zeros(out, -n);
		write_digits(out, number, 0, k);
	}
	else if (k <= (size_t) n)
	{
		write_digits(out, number, 0, k);
		write_zeros(out, n - (int64_t) k);
	}
	else
	{
		write_digits(out, number, 0, (size_t) n);
		atp_buf_byte(out, '.');
		write_digits(out, number, (size_t) n, k - (size_t) n);
	}
}

/* The double nearest to 0.DIGITS x 10^point; HUGE_VAL beyond the largest. Without a point in the text, no locale matters. */
static double
double_of(const Decimal *number)
{
	char		text[DIGITS_MAX + 32];
	size_t		k = digit_count(number);
	size_t		used = 0;

	if (number->exponent != NULL)
		return number->exponent_negative ? 0 : HUGE_VAL;
	if (number->point > 400 || number->point < -400)
		return number->point < 0 ? 0 : HUGE_VAL;
	for (int i = 0; i < 2; i++)
	{
		size_t		take = number->size[i] < DIGITS_MAX - used ? number->size[i] : DIGITS_MAX - used;

		if (take > 0)
			memcpy(text + used, number->part[i], take);
		used += take;
	}
	if (k > used)				/* what was left off ends in a digit that is not 0: above the cut, never on it */
		text[used++] = '1';
	snprintf(text + used, sizeof(text) - used, "e%d", (int) (number->point - (int64_t) used));
	return strtod(text, NULL);
}

/*
 * Tries whether `count` digits are enough for a positive double: the nearest such decimal, and at a power of two, below which
 * doubles lie twice as dense, the next one up, which can be inside when the nearest is not.
 */
static bool
try_digits(double value, int count, char digits[20], Decimal *number)
{
	char		text[40];
	int			at;

	snprintf(text, sizeof(text), "%.*e", count - 1, value);
	digits[0] = text[0];
	at = count > 1 ? count + 1 : 1;
	if (count > 1)
		memcpy(digits + 1, text + 2, (size_t) count - 1);
	number->part[0] = digits;
	number->size[0] = (size_t) count;
	number->part[1] = digits;
	number->size[1] = 0;
	number->point = strtol(text + at + 1, NULL, 10) + 1;
	if (double_of(number) == value)
		return true;
	for (at = count; at-- > 0 && digits[at] == '9';)
		digits[at] = '0';
	if (at < 0)
		return false;			/* 99..9: one more digit of it is nearer than 100..0 */
	digits[at]++;
	return double_of(number) == value;
}

/* Replaces the digits by the fewest that give the same double. False: there is no such double. */
static bool
shorten(Decimal *number, char digits[20])
{
	double		value = double_of(number);
	int			count = value < DBL_MIN ? 1 : DBL_DIG;	/* where DBL_DIG digits do, they are the shortest's, and zeros */

	if (isinf(value))
		return false;
	number->exponent = NULL;
	number->size[0] = number->size[1] = 0;
	if (value == 0)
		return true;
	while (!try_digits(value, count, digits, number))
		count++;				/* 17 always do */
	normalize(number);
	return true;
}

static bool
is_plain_integer(const char *text, size_t size)
{
	size_t		at = size > 0 && text[0] == '-';

	if (size - at == 0 || size - at > PLAIN_DIGITS)
		return false;
	if (text[at] == '0')
		return size == 1;
	for (; at < size; at++)
		if (!is_digit(text[at]))
			return false;
	return true;
}

bool
atp_canon_number(AtpBuf *out, AtpCanonProfile profile, const char *text, size_t size)
{
	Decimal		number;
	char		digits[20];

	if (is_plain_integer(text, size))
	{
		atp_buf_append(out, text, size);
		return true;
	}
	if (size == 0 || scan_number(text, size, &number) != size)
		return false;
	normalize(&number);
	if (profile == ATP_CANON_RFC8785 && digit_count(&number) > 0 &&
		(digit_count(&number) > DBL_DIG || number.exponent != NULL || number.point > 300 || number.point < -300) &&
		!shorten(&number, digits))
		return false;
	if (digit_count(&number) == 0)
		atp_buf_byte(out, '0');
	else
		write_layout(out, &number);
	return true;
}

size_t
atp_canon_scan_number(const char *text, size_t size)
{
	Decimal		number;

	return scan_number(text, size, &number);
}

/*
 * UTF-8 orders like code points, and so do UTF-16 code units, but for the surrogates (lead bytes F0 to F4), which are
 * below U+E000 to U+FFFF (lead bytes EE and EF). Lifting those two above F4 gives the order on bytes.
 */
static inline uint8_t
lift(uint8_t byte)
{
	return byte == 0xEE || byte == 0xEF ? (uint8_t) (byte + 0x10) : byte;
}

int
atp_canon_compare_keys(const char *a, size_t a_size, const char *b, size_t b_size)
{
	size_t		common = a_size < b_size ? a_size : b_size;
	size_t		at = 0;

	while (at < common && a[at] == b[at])
		at++;
	if (at < common)
		return lift((uint8_t) a[at]) < lift((uint8_t) b[at]) ? -1 : 1;
	return a_size < b_size ? -1 : a_size > b_size;
}

static inline uint64_t
load_u32(const uint8_t *at)
{
	return (uint64_t) at[0] << 24 | (uint64_t) at[1] << 16 | (uint64_t) at[2] << 8 | at[3];
}

/* The first eight bytes as a big-endian number, zeros behind a shorter key. Loads overlap rather than loop. */
static inline uint64_t
load_prefix(const uint8_t *key, uint32_t size)
{
	if (size >= 8)
		return load_u32(key) << 32 | load_u32(key + 4);
	if (size >= 4)
		return load_u32(key) << 32 | load_u32(key + size - 4) << (64 - 8 * size);
	if (size == 0)
		return 0;
	return (uint64_t) key[0] << 56 | (uint64_t) key[size / 2] << (56 - 8 * (size / 2)) |
		(uint64_t) key[size - 1] << (64 - 8 * size);
}

void
atp_canon_key(AtpCanonKey *key, const char *utf8, uint32_t size, uint32_t index)
{
	uint64_t	prefix = load_prefix((const uint8_t *) utf8, size);

	if ((prefix & UINT64_C(0x8080808080808080)) != 0)
	{
		uint64_t	lifted = 0;

		for (int i = 56; i >= 0; i -= 8)
			lifted |= (uint64_t) lift((uint8_t) (prefix >> i)) << i;
		prefix = lifted;
	}
	key->prefix = prefix;
	key->utf8 = utf8;
	key->size = size;
	key->index = index;
}

static inline bool
comes_before(const AtpCanonKey *a, const AtpCanonKey *b)
{
	if (a->prefix != b->prefix)
		return a->prefix < b->prefix;
	return atp_canon_compare_keys(a->utf8, a->size, b->utf8, b->size) < 0;
}

static void
insertion_sort(AtpCanonKey *keys, size_t count)
{
	for (size_t i = 1; i < count; i++)
	{
		AtpCanonKey key = keys[i];
		size_t		at = i;

		for (; at > 0 && comes_before(&key, &keys[at - 1]); at--)
			keys[at] = keys[at - 1];
		keys[at] = key;
	}
}

/* Runs sorted by insertion, then merged, there and back between the array and the spare one. */
void
atp_canon_sort_keys(AtpCanonKey *keys, size_t count, AtpCanonKey *spare)
{
	AtpCanonKey *from = keys;
	AtpCanonKey *to = spare;

	for (size_t start = 0; start < count; start += ATP_CANON_SORT_IN_PLACE)
		insertion_sort(keys + start, count - start < ATP_CANON_SORT_IN_PLACE ? count - start : ATP_CANON_SORT_IN_PLACE);
	for (size_t width = ATP_CANON_SORT_IN_PLACE; width < count; width *= 2)
	{
		AtpCanonKey *swap = from;

		for (size_t start = 0; start < count; start += 2 * width)
		{
			size_t		left = start;
			size_t		middle = count - start < width ? count : start + width;
			size_t		right = middle;
			size_t		end = count - middle < width ? count : middle + width;

			for (size_t at = start; at < end; at++)
				to[at] = right == end || (left < middle && !comes_before(&from[right], &from[left]))
					? from[left++] : from[right++];
		}
		from = to;
		to = swap;
	}
	if (from != keys)
		memcpy(keys, from, count * sizeof(*keys));
}
