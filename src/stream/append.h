/*
 * The one door: every event is admitted here, whether it comes from append_event, append_events, INSERT or COPY into the
 * view atp.events, or the platform itself.
 */
#ifndef ATP_APPEND_H
#define ATP_APPEND_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "core/hash.h"
#include "record/tenant.h"
#include "stream/append/event.h"
#include "stream/repeat.h"

/* Streams whose category begins with this are the platform's: nothing but platform events may be appended to them. */
#define ATP_PLATFORM_PREFIX "atp."

/* Values of expected_version that are no versions. */
#define ATP_EXPECT_ANY PG_INT64_MIN
#define ATP_EXPECT_EXISTS (-1)
#define ATP_EXPECT_NONE 0

/*
 * Appends events to one stream, all or none, and fills one receipt each. `batch_key` (NULL: none) covers the events together:
 * the same key with the same events returns the original receipts. Raises TP101 (expected version), TP104 (key or id used for other
 * content), TP105, TP106 (sealed), TP20x (names, payload, metadata, tenant), TP220, TP221 and
 * TP223 (schema), TP250 and TP251 (the type or the stream is the
 * platform's, and the event is not), 25006 (read-only transaction or standby). A tenant that takes no events takes the platform's.
 */
extern void atp_append(const AtpTenant *tenant, const char *stream, const AtpEvent *events, int count, int64 expected_version,
					   const char *batch_key, AtpReceipt *receipts);

/*
 * Events of one statement that come one by one, without id or key: each is admitted as by atp_append of one event, with the same errors
 * and the same lock, and counts at once for those after it; only the rows are written some at a time. Who begins has to store before
 * the statement ends; in between the rows are missing, so a transaction that would commit without is ended. To be begun in a memory
 * context that ends with the (sub)transaction; when that aborts, the caller says so by atp_gather_forget.
 */
typedef struct AtpGather AtpGather;

extern AtpGather *atp_gather_begin(void);
extern void atp_gather_event(AtpGather *gather, const AtpTenant *tenant, const char *stream, const AtpEvent *event,
							 int64 expected_version);
extern void atp_gather_store(AtpGather *gather);
extern void atp_gather_forget(AtpGather *gather);

/*
 * What the floors above hang on the life of an appending transaction; init.c fills it. Called only in transactions that have
 * appended: never missed, but perhaps in vain when a savepoint took everything back.
 */
typedef struct AtpAppendHooks
{
	void		(*pre_commit) (void);	/* before commit or prepare; may raise: the transaction then aborts */
	void		(*committed) (void);	/* after the commit is visible; must not raise */
} AtpAppendHooks;

extern AtpAppendHooks atp_append_hooks;

extern void atp_append_init(void);

#endif
