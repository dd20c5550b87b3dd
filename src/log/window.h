/*
 * What became visible between two moments: the tick idea. A mark is a snapshot's bounds, in top-level 64-bit transaction ids.
 *
 * A mark counts the transaction that takes it as in progress, whether or not its id lies below xmax: it may write more
 * events after the mark is taken, and all of a transaction's events must fall between the same two marks. Aborted
 * transactions count as finished; their events are not there. Subtransactions do not show: an event carries its top-level id.
 */
#ifndef ATP_WINDOW_H
#define ATP_WINDOW_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "storage/itemptr.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

typedef struct AtpMark
{
	uint64		xmin;			/* every older transaction is finished: the first of xip, or xmax */
	uint64		xmax;			/* no transaction from here on is */
	int			count;
	uint64	   *xip;			/* in progress, ascending, in [xmin, xmax) */
} AtpMark;

typedef struct AtpEventRow
{
	int64		seq;
	int64		stream;
	pg_uuid_t	event_id;
	int32		tenant;
	int32		event_type;
	Oid			leaf;			/* where it was found: a hint, for rows can be written anew */
	ItemPointerData place;
} AtpEventRow;

/* The mark of a snapshot; the mark before everything; a copy. In the current memory context. */
extern AtpMark *atp_mark_take(Snapshot snapshot);
extern AtpMark *atp_mark_zero(void);
extern AtpMark *atp_mark_copy(const AtpMark *mark);

/*
 * As text: xmax, then how far below it each transaction in progress is, farthest first ("1000,40,3"). Reading moves *text behind
 * the mark; NULL: malformed.
 */
extern void atp_mark_append(StringInfo text, const AtpMark *mark);
extern AtpMark *atp_mark_parse(const char **text);

/* Says whether a transaction was finished at the mark. */
extern bool atp_mark_includes(const AtpMark *mark, uint64 xid);

/*
 * Collects the events of transactions that finished after `from` and until `upto`, with a sequence number over `after_seq`: in
 * the order of their sequence numbers, at most `room` of them, the lowest. Returns an array in the current context; sets
 * *complete where nothing was left out. Rows are read with `snapshot`, which is not older than `upto`.
 */
extern AtpEventRow *atp_window_collect(const AtpMark *from, const AtpMark *upto, int64 after_seq, int room,
									   Snapshot snapshot, int *count, bool *complete);

#endif
