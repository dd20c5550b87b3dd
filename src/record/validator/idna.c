/*
 * Internationalised labels (IDNA 2008). libidn2 knows which characters a label may have and in which context (RFC
 * 5892), and Punycode. The Bidi rule (RFC 5893) is ours, in Bidi classes as PCRE2 knows them: libidn2 lets labels pass
 * that mix both kinds of digits, and sees one label at a time, while the rule binds every label of a name as soon as
 * one is written from right to left.
 */
#include "postgres.h"

#include <idn2.h>

#include "utils/memutils.h"

#include "record/validator/idna.h"
#include "record/validator/pattern.h"

#define LABEL_MAX_BYTES 63
#define LABEL_MAX_INPUT 1024

#define NEUTRAL "\\p{bc:EN}\\p{bc:ES}\\p{bc:CS}\\p{bc:ET}\\p{bc:ON}\\p{bc:BN}\\p{bc:NSM}"

/* A name with a letter or digit of a right-to-left script. */
static const char bidi_name[] = "[\\p{bc:R}\\p{bc:AL}\\p{bc:AN}]";

/* A name all of whose labels obey: from left to right, or from right to left and then with one kind of digits. */
#define LTR_LABEL "\\p{bc:L}(?:[\\p{bc:L}" NEUTRAL "]*[\\p{bc:L}\\p{bc:EN}])?\\p{bc:NSM}*"
#define RTL_LABEL "[\\p{bc:R}\\p{bc:AL}](?![^.]*\\p{bc:EN}[^.]*\\p{bc:AN})(?![^.]*\\p{bc:AN}[^.]*\\p{bc:EN})" \
	"(?:[\\p{bc:R}\\p{bc:AL}\\p{bc:AN}" NEUTRAL "]*[\\p{bc:R}\\p{bc:AL}\\p{bc:AN}\\p{bc:EN}])?\\p{bc:NSM}*"
static const char bidi_labels[] = "^(?:(?:" LTR_LABEL "|" RTL_LABEL ")(?:\\.|$))+$";

/*
 * Is the label one that could be registered? alabel: it is written with xn--. *ascii_len gets the length of its
 * A-label; its U-label and a full stop are appended to the name.
 */
bool
atp_idna_label_is_valid(const char *label, int len, bool alabel, int *ascii_len, StringInfo name)
{
	char	   *copy;
	char	   *ulabel = NULL;
	uint8_t    *result = NULL;
	int			code;

	if (len > LABEL_MAX_INPUT)
		return false;
	copy = pnstrdup(label, (Size) len);
	if (alabel)
		for (char *p = copy; *p; p++)
			*p = (char) pg_ascii_tolower((unsigned char) *p);
	code = alabel ? idn2_register_u8(NULL, (const uint8_t *) copy, &result, 0) :
		idn2_register_u8((const uint8_t *) copy, NULL, &result, 0);
	*ascii_len = code == IDN2_OK && result ? (int) strlen((const char *) result) : 0;
	if (code == IDN2_OK && alabel)
		code = idn2_to_unicode_8z8z(copy, &ulabel, 0);
	if (code == IDN2_OK)
		appendStringInfo(name, "%s.", ulabel ? ulabel : copy);
	if (ulabel)
		idn2_free(ulabel);
	if (result)
		idn2_free(result);
	pfree(copy);
	return code == IDN2_OK && *ascii_len <= LABEL_MAX_BYTES;
}

/* Does a name of U-labels, each with a full stop behind it, obey the Bidi rule? */
bool
atp_idna_name_is_bidi_valid(const char *name, int len)
{
	static AtpPattern *is_bidi = NULL;
	static AtpPattern *obeys = NULL;

	if (obeys == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		is_bidi = atp_pattern_compile_pcre(bidi_name);
		obeys = atp_pattern_compile_pcre(bidi_labels);
		MemoryContextSwitchTo(old);
	}
	return !atp_pattern_match(is_bidi, name, len) || atp_pattern_match(obeys, name, len);
}
