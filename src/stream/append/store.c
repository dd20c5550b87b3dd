/* Events into the table; see store.h. */
#include "stream/append/store.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "utils/xid8.h"

#include "pg/bulk.h"
#include "pg/errors.h"
#include "pg/relation.h"
#include "stream/partition.h"

typedef struct Varlena32		/* a bytea of 32 bytes */
{
	int32		header;
	uint8		bytes[32];
} Varlena32;

typedef struct Row				/* what the values of a row point to, besides the prepared event */
{
	Varlena32	hash;
	Varlena32	salts;
} Row;

int64
atp_store_seq(void)
{
	return nextval_internal(atp_relation_oid(ATP_REL_EVENT_SEQ), false);
}

/* The values of a row, which borrow what they point to. */
static void
fill_values(Datum *values, bool *nulls, int columns, Row *row, const AtpPlaced *placed)
{
	const AtpPrepared *prepared = placed->prepared;
	const AtpReceipt *receipt = placed->receipt;

	SET_VARSIZE(&row->hash, sizeof(row->hash));
	memcpy(row->hash.bytes, receipt->hash, sizeof(row->hash.bytes));
	SET_VARSIZE(&row->salts, sizeof(row->salts));
	memcpy(row->salts.bytes, prepared->salts, sizeof(row->salts.bytes));

	memset(nulls, 0, sizeof(bool) * columns);
	values[ATP_EVENT_ID - 1] = UUIDPGetDatum(&prepared->event_id);
	values[ATP_EVENT_STREAM - 1] = Int64GetDatum(placed->stream);
	values[ATP_EVENT_STREAM_VERSION - 1] = Int64GetDatum(receipt->stream_version);
	values[ATP_EVENT_OCCURRED_AT - 1] = TimestampTzGetDatum(prepared->occurred_at);
	values[ATP_EVENT_RECORDED_AT - 1] = TimestampTzGetDatum(receipt->recorded_at);
	values[ATP_EVENT_XID - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[ATP_EVENT_SEQ - 1] = Int64GetDatum(placed->seq);
	values[ATP_EVENT_TENANT - 1] = Int32GetDatum(placed->tenant);
	values[ATP_EVENT_EVENT_TYPE - 1] = Int32GetDatum(prepared->type.event_type);
	values[ATP_EVENT_SCHEMA_VERSION - 1] = Int32GetDatum(prepared->verdict.version);
	values[ATP_EVENT_FLAGS - 1] = Int16GetDatum(prepared->flags);
	values[ATP_EVENT_HASH - 1] = PointerGetDatum(&row->hash);
	values[ATP_EVENT_SALTS - 1] = PointerGetDatum(&row->salts);
	values[ATP_EVENT_PAYLOAD - 1] = PointerGetDatum(prepared->payload);
	values[ATP_EVENT_METADATA - 1] = PointerGetDatum(prepared->metadata);
	for (int i = ATP_EVENT_METADATA; i < columns; i++)
		nulls[i] = true;
}

static void
insert_one(Relation leaf, const AtpPlaced *placed)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(leaf), &TTSOpsVirtual);
	Row			row;

	fill_values(slot->tts_values, slot->tts_isnull, slot->tts_tupleDescriptor->natts, &row, placed);
	ExecStoreVirtualTuple(slot);
	atp_relation_insert_rows(leaf, &slot, 1);
	ExecDropSingleTupleTableSlot(slot);
}

static void
insert_rows(Relation leaf, const AtpPlaced *placed, int count)
{
	Row			rows[ATP_STORE_ROWS];
	AtpBulk    *bulk;

	if (count == 1)
	{
		insert_one(leaf, placed);
		return;
	}
	bulk = atp_bulk_begin(leaf);
	for (int i = 0; i < count; i++)
	{
		Datum	   *values;
		bool	   *nulls;

		atp_bulk_add(bulk, &values, &nulls);
		fill_values(values, nulls, RelationGetDescr(leaf)->natts, &rows[i], &placed[i]);
	}
	atp_bulk_end(bulk);
}

/*
 * A caller's id that another stream's append, not yet committed when this one looked, has stored meanwhile: the index on it is what
 * finds that. The version's index cannot be violated under the stream lock.
 */
static void
insert_given_ids(Relation leaf, const AtpPlaced *placed, int count)
{
	MemoryContext before = CurrentMemoryContext;

	PG_TRY();
	{
		insert_rows(leaf, placed, count);
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_UNIQUE_VIOLATION)
			PG_RE_THROW();
		MemoryContextSwitchTo(before);
		FlushErrorState();
		ereport(ERROR, errcode(ATP_ERR_IDEMPOTENCY_CONFLICT), errmsg("event id was used before for other content"),
				errdetail("Another stream has an event of this id."));
	}
	PG_END_TRY();
}

/* Writes events from the first on that belong into one leaf; returns how many. */
static int
insert_slice(const AtpPlaced *placed, int count)
{
	AtpPartitionRange range;
	Relation	leaf = atp_partition_open(&placed->prepared->event_id, &range);
	bool		given = false;
	int			n = 0;

	do
		given |= placed[n++].prepared->given_id;
	while (n < count && n < ATP_STORE_ROWS && atp_partition_contains(&range, &placed[n].prepared->event_id));
	if (given)
		insert_given_ids(leaf, placed, n);
	else
		insert_rows(leaf, placed, n);
	table_close(leaf, NoLock);
	return n;
}

void
atp_store_events(const AtpPlaced *placed, int count)
{
	for (int stored = 0; stored < count;)
	{
		stored += insert_slice(placed + stored, count - stored);
		CHECK_FOR_INTERRUPTS();
	}
}
