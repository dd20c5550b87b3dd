/*
 * Our tables by number, and rows written to them without the executor.
 *
 * The OIDs of atp's tables and indexes are looked up once per backend and forgotten when the relation cache says that one
 * of them changed. The first look-up compares the version of the installed SQL with that of this library (TP212).
 *
 * A row that is written here goes through the table access method and into every index of the table, by way of an IndexInfo
 * that is kept per table until the relation cache invalidates it: half of what an INSERT through SPI costs. Triggers,
 * rules and policies of the table are not consulted: privileges are those of the function that was called.
 */
#ifndef ATP_RELATION_H
#define ATP_RELATION_H

#include "postgres.h"

#include "access/tableam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "storage/buf.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

typedef enum AtpRelation
{
	ATP_REL_TENANT,
	ATP_REL_TENANT_NAME_UNIQUE,
	ATP_REL_TENANT_PK,
	ATP_REL_EVENT_TYPE,
	ATP_REL_EVENT_TYPE_NAME_UNIQUE,
	ATP_REL_EVENT_TYPE_PK,
	ATP_REL_EVENT_SCHEMA,
	ATP_REL_EVENT_SCHEMA_VERSION_UNIQUE,
	ATP_REL_UPCASTER,
	ATP_REL_UPCASTER_PK,
	ATP_REL_EVENT,
	ATP_REL_EVENT_SEQ,
	ATP_REL_STREAM,
	ATP_REL_STREAM_NAME_UNIQUE,
	ATP_REL_STREAM_PK,
	ATP_REL_STREAM_SEQ,
	ATP_REL_IDEMPOTENCY,
	ATP_REL_IDEMPOTENCY_PK,
	ATP_REL_LOG,
	ATP_REL_LOG_PK,
	ATP_REL_LOG_EVENT_UNIQUE,
	ATP_REL_SUBSCRIPTION,
	ATP_REL_SUBSCRIPTION_NAME_UNIQUE,
	ATP_REL_SUBSCRIPTION_CURSOR,
	ATP_REL_SUBSCRIPTION_CURSOR_PK,
	ATP_REL_SEQUENCER,
	ATP_REL_AUDIT_EVENT_PROJECTION,
	ATP_REL_EVENT_STREAM_PROJECTION,
	ATP_REL_EVENT_STREAM_PROJECTION_PK,
	ATP_REL_COUNT
} AtpRelation;

/* The OID of one of our relations. Raises TP212, or undefined_object when the extension is not installed. */
extern Oid	atp_relation_oid(AtpRelation which);

/* A counter that grows whenever a relation of ours may have changed: caches built on them compare it. */
extern uint64 atp_relation_generation(void);

/* The same, for who has not looked up any relation yet: from here on changes are counted. */
extern uint64 atp_relation_watch(void);

/* Called with the OID of a relation that changed, InvalidOid for all. */
typedef void (*AtpRelationCallback) (Oid relation);
extern void atp_relation_on_change(AtpRelationCallback callback);

/*
 * Fetches the row that a unique index has for a key, as the snapshot sees it, into a slot of table_slot_create. An index scan of the
 * executor tidies a page up as soon as it is fuller than the table's fillfactor: where every row is updated on the heels of being
 * read, that is each time. Here a page is tidied up when it is nearly full, so that one visit frees the room of many updates.
 * *entry (unless NULL) becomes where the index entry points.
 */
extern bool atp_relation_fetch(Relation relation, AtpRelation index, ScanKey keys, int key_count, Snapshot snapshot,
							   TupleTableSlot *slot, ItemPointer entry);

/*
 * The same by where an index entry pointed once, and the buffer that its page was in, if that is known; false where the snapshot sees
 * no row there. Says nothing of whose row it is: the caller compares.
 */
extern bool atp_relation_fetch_at(Relation relation, const ItemPointerData *entry, Buffer buffer, Snapshot snapshot, TupleTableSlot *slot);

/* The indexes of a table, all of them open for insertion at some time of this transaction. */
typedef struct AtpIndexes
{
	bool		simple;			/* none has an expression, an exclusion constraint, or a predicate but "column IS NOT NULL" */
	int			count;
	Oid		   *oids;
	struct IndexInfo **infos;
	AttrNumber *required;		/* the column that has to be there for a row to be entered; InvalidAttrNumber: none */
} AtpIndexes;

/* Valid until the next call for any table, or the next invalidation that is accepted. */
extern const AtpIndexes *atp_relation_indexes(Relation relation);

/* Enters the row in `slot`, which has just been inserted (or moved off its page by an update), into every index. */
extern void atp_relation_index_insert(Relation relation, TupleTableSlot *slot);

/*
 * Inserts rows, in as few page visits and WAL records as they take, and enters them into every index, index by index. The caller
 * holds ROW EXCLUSIVE on the relation. The slots keep their rows; their tts_tid is set.
 */
extern void atp_relation_insert_rows(Relation relation, TupleTableSlot **slots, int count);

/*
 * Inserts the row unless a unique index has an equal one: then waits for that one's transaction and returns false if it
 * committed. True: inserted. The caller holds ROW EXCLUSIVE on the relation.
 */
extern bool atp_relation_insert_unless_exists(Relation relation, TupleTableSlot *slot);

/* The index of `relation` whose first column is `attribute` and which is unique (or not); InvalidOid if there is none. */
extern Oid	atp_relation_find_index(Relation relation, AttrNumber attribute, bool unique);

#endif
