/* Event types: resolution of names through a per-backend cache, and registration on first use. */
#ifndef ATP_EVENTTYPE_H
#define ATP_EVENTTYPE_H

#include "postgres.h"

#define ATP_EVENT_TYPE_NAME_MAX 128

typedef enum AtpValidation
{
	ATP_VALIDATION_ENFORCE,		/* refuses the event */
	ATP_VALIDATION_RECORD,		/* stores it with record flag bit 1 */
	ATP_VALIDATION_OFF
} AtpValidation;

typedef struct AtpEventType
{
	int32		event_type;
	bool		builtin;		/* an event of the platform: record flag bit 0 */
	AtpValidation validation;	/* what an append does with a payload that its schema refuses */
	int32		active_version;	/* of its schemas; 0: none */
	int32		latest_version;
	char		name[ATP_EVENT_TYPE_NAME_MAX + 1];
} AtpEventType;

/*
 * Fills `type` for a name. An unknown one is registered under atp.event_type_policy = open. Raises TP201 for a malformed name,
 * TP207 for an unknown one under the policy registered.
 */
extern void atp_eventtype_resolve(const char *name, AtpEventType *type);

/* The same without registering; false where there is none. */
extern bool atp_eventtype_find(const char *name, AtpEventType *type);

/* The same by key; false where there is none. */
extern bool atp_eventtype_get(int32 key, AtpEventType *type);

/* Raises TP201, with a hint that says what to do, unless the name is PascalCase, past tense, with an optional version suffix. */
extern void atp_eventtype_require_valid(const char *name);

extern void atp_eventtype_init(void);

#endif
