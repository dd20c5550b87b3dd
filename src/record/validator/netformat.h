/* Formats of the network: names, addresses, identifiers. */
#ifndef ATP_VALIDATOR_NETFORMAT_H
#define ATP_VALIDATOR_NETFORMAT_H

extern bool atp_format_ipv4(const char *text, int len);
extern bool atp_format_ipv6(const char *text, int len);
extern bool atp_format_hostname(const char *text, int len);
extern bool atp_format_idn_hostname(const char *text, int len);
extern bool atp_format_email(const char *text, int len);
extern bool atp_format_idn_email(const char *text, int len);
extern bool atp_format_uri(const char *text, int len);
extern bool atp_format_uri_reference(const char *text, int len);
extern bool atp_format_iri(const char *text, int len);
extern bool atp_format_iri_reference(const char *text, int len);
extern bool atp_format_uri_template(const char *text, int len);

#endif
