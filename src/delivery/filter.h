/*
 * Which events a subscription wants: event types, categories and streams by exact name or pattern, a correlation map over
 * envelope and metadata, and a predicate. All of the rules that are given have to hold; within a list, any of its entries.
 *
 * The cheap rules look at the log row's keys only and remember their answer by key (per compiled filter, that is per backend);
 * the event is fetched for rows that pass them, and only if a dear rule is left.
 */
#ifndef ATP_FILTER_H
#define ATP_FILTER_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "delivery/feed.h"

typedef struct AtpFilter AtpFilter;

typedef struct AtpFilterRules	/* as the subscription's row holds them; NULL: not given */
{
	ArrayType  *event_types;
	ArrayType  *categories;
	ArrayType  *streams;
	Jsonb	   *correlation;
	const char *predicate;
} AtpFilterRules;

/* Compiles in a child of the current memory context, which the filter lives as long as. Raises TP301. */
extern AtpFilter *atp_filter_compile(const AtpFilterRules *rules);

/* The cheap rules. False: *rule (if asked for) says which one failed, a constant. */
extern bool atp_filter_wants_row(AtpFilter *filter, const AtpLogRow *row, const char **rule);

/* The names of the rules that are given, for people; "none" where there are none. */
extern char *atp_filter_describe(const AtpFilter *filter);

/* Whether a dear rule is left. */
extern bool atp_filter_needs_event(const AtpFilter *filter);

typedef enum AtpFilterVerdict
{
	ATP_FILTER_NO, ATP_FILTER_YES, ATP_FILTER_RAISED
} AtpFilterVerdict;

/* The dear rules. NO: *rule says which one failed. RAISED: *error says what. */
extern AtpFilterVerdict atp_filter_wants_event(AtpFilter *filter, const AtpLogRow *row, const AtpFeedEvent *event, const char **rule,
											   char **error);

/* The value of a metadata member as text, or NULL, in the current memory context. */
extern char *atp_filter_metadata_text(const AtpFeedEvent *event, const char *member);

#endif
