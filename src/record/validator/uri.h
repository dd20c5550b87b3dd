/* URI references (RFC 3986): resolution against a base, and the parts that resolution needs. */
#ifndef ATP_VALIDATOR_URI_H
#define ATP_VALIDATOR_URI_H

extern char *atp_uri_resolve(const char *base, const char *reference);
extern char *atp_uri_without_fragment(const char *uri, const char **fragment);
extern bool atp_uri_is_absolute(const char *uri);
extern char *atp_uri_percent_decode(const char *text);

#endif
