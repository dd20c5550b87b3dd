/* Regular expressions of ECMA-262, run by PCRE2 within limits. */
#ifndef ATP_VALIDATOR_PATTERN_H
#define ATP_VALIDATOR_PATTERN_H

typedef struct AtpPattern AtpPattern;

extern AtpPattern *atp_pattern_compile(const char *pattern, int len, const char **error);
extern AtpPattern *atp_pattern_compile_pcre(const char *pattern);
extern bool atp_pattern_match(AtpPattern *pattern, const char *text, int len);
extern bool atp_pattern_is_valid(const char *pattern, int len);

#endif
