/* The meta-schemas built into the library. */
#ifndef ATP_VALIDATOR_METASCHEMA_H
#define ATP_VALIDATOR_METASCHEMA_H

extern const char *atp_metaschema_text(const char *uri);

#endif
