/* Internationalised labels (IDNA 2008). */
#ifndef ATP_VALIDATOR_IDNA_H
#define ATP_VALIDATOR_IDNA_H

#include "lib/stringinfo.h"

extern bool atp_idna_label_is_valid(const char *label, int len, bool alabel, int *ascii_len, StringInfo name);
extern bool atp_idna_name_is_bidi_valid(const char *name, int len);

#endif
