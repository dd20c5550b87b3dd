/* The formats of JSON Schema: each is a question to a string. */
#ifndef ATP_VALIDATOR_FORMAT_H
#define ATP_VALIDATOR_FORMAT_H

/* The text is UTF-8 that the server has verified, without a terminator. */
typedef bool (*AtpFormatCheck) (const char *text, int len);

extern AtpFormatCheck atp_format_find(const char *name, int len);

#endif
