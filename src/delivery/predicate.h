/*
 * The predicate of a subscription: a jsonpath over the CloudEvents form of an event, or a filter expression of the CloudEvents
 * Subscriptions specification (dialects exact, prefix, suffix, all, any, not). One compiled form, one question.
 *
 * The form is that of stream/cloudevent. An expression that asks only for type, subject and source looks at the event only for whether it
 * was taken from a document, and has others than the log row says.
 */
#ifndef ATP_PREDICATE_H
#define ATP_PREDICATE_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "delivery/feed.h"

typedef struct AtpPredicate AtpPredicate;

typedef enum AtpPredicateResult
{
	ATP_PREDICATE_NO, ATP_PREDICATE_YES, ATP_PREDICATE_RAISED
} AtpPredicateResult;

/*
 * Compiles in the current memory context. Text that begins with { or [ is a CloudEvents filter (an array means all of them),
 * every other one a jsonpath. Raises TP301 for what does not parse.
 */
extern AtpPredicate *atp_predicate_compile(const char *source);

extern bool atp_predicate_needs_event(const AtpPredicate *predicate);

/* Asks. `event` may be NULL unless it is needed. RAISED: *error says what, in the current memory context. */
extern AtpPredicateResult atp_predicate_test(const AtpPredicate *predicate, const AtpLogRow *row, const AtpFeedEvent *event, char **error);

#endif
