/*
 * W3C Trace Context: the grammar of traceparent (version 00, and the part of later versions that every reader must understand) and
 * of tracestate (level 2, which takes all that level 1 does).
 *
 * The parsers take a header's value with the optional white space around it that HTTP lets a reader drop. What they return points
 * into the text.
 */
#ifndef ATP_TRACECONTEXT_H
#define ATP_TRACECONTEXT_H

#include <stdbool.h>
#include <stddef.h>

#define ATP_TRACE_ID_SIZE 32	/* in characters, as the other sizes here */
#define ATP_PARENT_ID_SIZE 16
#define ATP_TRACESTATE_MAX_MEMBERS 32

typedef struct AtpTraceparent
{
	const char *version;		/* 2 */
	const char *trace_id;		/* ATP_TRACE_ID_SIZE */
	const char *parent_id;		/* ATP_PARENT_ID_SIZE */
	const char *flags;			/* 2 */
} AtpTraceparent;

typedef struct AtpTraceMember
{
	const char *key;
	size_t		key_size;
	const char *value;
	size_t		value_size;
} AtpTraceMember;

/* False: the text is no traceparent. */
extern bool atp_traceparent_parse(const char *text, size_t size, AtpTraceparent *parts);

/*
 * Returns how many members the list has, those left empty not counted; -1: the text is no tracestate. A key that comes twice is
 * returned twice: the recommendation forbids writing it and leaves reading it open.
 */
extern int	atp_tracestate_parse(const char *text, size_t size, AtpTraceMember members[ATP_TRACESTATE_MAX_MEMBERS]);

/* Whether a value can stand in an event's metadata as it is: a traceparent with nothing around it, a tracestate of any spacing. */
extern bool atp_traceparent_is_valid(const char *text, size_t size);
extern bool atp_tracestate_is_valid(const char *text, size_t size);

#endif
