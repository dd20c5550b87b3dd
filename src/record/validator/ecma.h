/* Translation of ECMA-262 regular expressions into the syntax of PCRE2. */
#ifndef ATP_VALIDATOR_ECMA_H
#define ATP_VALIDATOR_ECMA_H

extern char *atp_ecma_translate(const char *pattern, int len, bool strict, const char **error);

#endif
