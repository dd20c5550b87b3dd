/*
 * Stream heads; see stream.h.
 *
 * Rollback to a savepoint: heads that a level put here go with it (its row lock and row version are gone too); heads of outer levels
 * that it changed get back the image taken by atp_stream_change. Both hang on the level, so that a savepoint costs what it
 * touched, and not what the transaction holds. Release of a savepoint hands both to the level above.
 *
 * Crash: nothing here outlives the transaction; the row and the events are written by it or not at all.
 */
#include "stream/stream.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(atp_stream_pending_version);
PG_FUNCTION_INFO_V1(atp_stream_pending_hash);
PG_FUNCTION_INFO_V1(atp_stream_pending_recorded_at);
PG_FUNCTION_INFO_V1(atp_stream_pending_min_event_id);
PG_FUNCTION_INFO_V1(atp_stream_pending_max_event_id);

#define FEW 8					/* heads that are found by going through all of them */
#define HEADS_MIN 16
#define HEADS_MAX (1 << 20)

static int	setting_heads = 16384;	/* at about half a kilobyte each */

typedef struct Image			/* what a head was when `level` first changed it */
{
	AtpHead		head;
	int			level;
	struct Image *next;			/* older */
} Image;

typedef struct HeadEntry
{
	const AtpHeadKey *key;		/* in the head */
	AtpHead    *head;
} HeadEntry;

typedef struct PendingEntry
{
	int64		stream;
	AtpHead    *head;
} PendingEntry;

/* All of it lives in `memory`, a child of TopTransactionContext, and is forgotten with it. */
static MemoryContext memory;
static HTAB *heads;				/* HeadEntry; NULL while there are few */
static int	head_count;
static HTAB *pending;			/* PendingEntry, of heads that are locked and not written; NULL: there was none yet */
static dlist_head in_use;		/* all heads, least recently used first */
static dlist_head *levels;		/* heads by made_level */
static int	level_count;
static Image *images;			/* newest first, levels never rise towards the older ones */

/* The table's keys are pointers to those in the heads: a table of whole heads would make room for 32 of them in each transaction. */
static uint32
hash_key(const void *key, Size size)
{
	const AtpHeadKey *head = *(const AtpHeadKey *const *) key;

	return hash_bytes((const unsigned char *) head->name, (int) strlen(head->name)) ^ (uint32) head->tenant;
}

static int
compare_key(const void *a, const void *b, Size size)
{
	const AtpHeadKey *x = *(const AtpHeadKey *const *) a;
	const AtpHeadKey *y = *(const AtpHeadKey *const *) b;

	return x->tenant != y->tenant ? 1 : strcmp(x->name, y->name);
}

static void
begin(void)
{
	memory = AllocSetContextCreate(TopTransactionContext, "atp stream heads", ALLOCSET_DEFAULT_SIZES);
	heads = NULL;
	head_count = 0;
	pending = NULL;				/* made for the first that is */
	dlist_init(&in_use);
	levels = NULL;
	level_count = 0;
	images = NULL;
}

static AtpHead *
find_head(const AtpHeadKey *key)
{
	HeadEntry  *entry;
	dlist_iter	walk;

	if (heads != NULL)
	{
		entry = hash_search(heads, &key, HASH_FIND, NULL);
		return entry == NULL ? NULL : entry->head;
	}
	dlist_foreach(walk, &in_use)
	{
		AtpHead    *head = dlist_container(AtpHead, in_use, walk.cur);

		if (head->key.tenant == key->tenant && strcmp(head->key.name, key->name) == 0)
			return head;
	}
	return NULL;
}

static void
enter_into_table(AtpHead *head)
{
	const AtpHeadKey *key = &head->key;
	bool		found;

	((HeadEntry *) hash_search(heads, &key, HASH_ENTER, &found))->head = head;
	Assert(!found);
}

/* There are no longer few heads. */
static void
make_table(void)
{
	HASHCTL		control = {.keysize = sizeof(const AtpHeadKey *), .entrysize = sizeof(HeadEntry), .hash = hash_key,
		.match = compare_key, .hcxt = memory};
	dlist_iter	walk;

	heads = hash_create("atp stream heads", 64, &control, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	dlist_foreach(walk, &in_use)
		enter_into_table(dlist_container(AtpHead, in_use, walk.cur));
}

static dlist_head *
level_list(int level)
{
	if (level > level_count)
	{
		int			count = Max(8, level * 2);
		dlist_head *wider = MemoryContextAlloc(memory, count * sizeof(dlist_head));

		/* a list's ends point at its head: move the lists one by one */
		for (int i = 0; i < count; i++)
		{
			dlist_init(&wider[i]);
			while (i < level_count && !dlist_is_empty(&levels[i]))
				dlist_push_tail(&wider[i], dlist_pop_head_node(&levels[i]));
		}
		levels = wider;
		level_count = count;
	}
	return &levels[level - 1];
}

static void
set_pending(AtpHead *head, bool is_pending)
{
	if (is_pending)
	{
		if (pending == NULL)
		{
			HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(PendingEntry), .hcxt = memory};

			pending = hash_create("atp pending stream heads", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		}
		((PendingEntry *) hash_search(pending, &head->stream, HASH_ENTER, NULL))->head = head;
	}
	else if (pending != NULL && head->stream != 0)
		hash_search(pending, &head->stream, HASH_REMOVE, NULL);
}

static void
forget(AtpHead *head)
{
	const AtpHeadKey *key = &head->key;

	set_pending(head, false);
	dlist_delete(&head->in_level);
	dlist_delete(&head->in_use);
	if (heads != NULL)
		hash_search(heads, &key, HASH_REMOVE, NULL);
	head_count--;
	pfree(head);
}

/* Puts a head into the tables: a fresh one, or one brought back by an image. */
static AtpHead *
enter(const AtpHeadKey *key, int level)
{
	AtpHead    *head = MemoryContextAllocZero(memory, sizeof(AtpHead));

	head->key.tenant = key->tenant;
	strlcpy(head->key.name, key->name, sizeof(head->key.name));
	if (++head_count > FEW && heads == NULL)
		make_table();			/* of those that were there before */
	if (heads != NULL)
		enter_into_table(head);
	head->made_level = head->saved_level = level;
	dlist_push_tail(level_list(level), &head->in_level);
	dlist_push_tail(&in_use, &head->in_use);
	return head;
}

/* Writes a head whose row is behind. */
static void
flush(AtpHead *head)
{
	CommandCounterIncrement();	/* the row may have been written by the current command */
	if (!atp_headrow_update(head, false, true))
		elog(ERROR, "row of stream \"%s\" was changed by another transaction under our lock", head->key.name);
	CommandCounterIncrement();
	set_pending(head, false);
}

static void
make_room(void)
{
	AtpHead    *oldest;

	if (head_count < setting_heads)
		return;
	oldest = dlist_container(AtpHead, in_use, dlist_head_node(&in_use));
	if (!oldest->written)
	{
		atp_stream_change(oldest);	/* a rollback undoes the write, so it needs the image */
		flush(oldest);
	}
	forget(oldest);
}

AtpHead *
atp_stream_open(int32 tenant, const char *name, bool lock)
{
	AtpHeadKey	key;
	AtpHead    *head;

	if (memory == NULL)
		begin();
	key.tenant = tenant;
	strlcpy(key.name, name, sizeof(key.name));
	head = find_head(&key);
	if (head != NULL && head->locked)
	{
		dlist_delete(&head->in_use);
		dlist_push_tail(&in_use, &head->in_use);
		return head;
	}
	if (head != NULL)
		forget(head);			/* read without a lock: it is anew, and by this level */
	make_room();
	head = enter(&key, GetCurrentTransactionNestLevel());
	atp_headrow_find(head, lock);
	return head;
}

void
atp_stream_change(AtpHead *head)
{
	int			level = GetCurrentTransactionNestLevel();
	Image	   *image;

	if (head->saved_level >= level)
		return;
	image = MemoryContextAlloc(memory, sizeof(Image));
	image->head = *head;
	image->level = level;
	image->next = images;
	images = image;
	head->saved_level = level;
}

bool
atp_stream_publish(AtpHead *head, int64 *turn)
{
	int64		stream = head->stream;
	bool		done;

	if (head->locked)
	{
		/* held since an earlier append, or locked first: the row follows before commit */
		head->written = false;
		set_pending(head, true);
		return true;
	}
	if (head->stream == 0)
		done = atp_headrow_insert(head);
	else
		done = atp_headrow_update(head, true, *turn != 0);
	if (done)
		head->locked = head->written = true;
	else
		forget(head);
	if (done && *turn != 0)
		atp_headrow_keep_turn(*turn);
	else if (!done && *turn == 0 && stream != 0)
	{
		atp_headrow_await_turn(stream);
		*turn = stream;
	}
	return done;
}

const AtpHead *
atp_stream_pending(int64 stream)
{
	PendingEntry *entry;

	if (memory == NULL || pending == NULL)
		return NULL;
	entry = hash_search(pending, &stream, HASH_FIND, NULL);
	return entry == NULL ? NULL : entry->head;
}

bool
atp_stream_has_pending(void)
{
	return memory != NULL && pending != NULL && hash_get_num_entries(pending) > 0;
}

/* Writes every head whose row is behind; the transaction is about to commit or to be prepared. */
static void
flush_all(void)
{
	HASH_SEQ_STATUS walk;
	PendingEntry *entry;

	if (!atp_stream_has_pending())
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	hash_seq_init(&walk, pending);
	while ((entry = hash_seq_search(&walk)) != NULL)
		flush(entry->head);		/* removes the entry just returned, which a sequential search allows */
	PopActiveSnapshot();
}

static void
end_of_transaction(XactEvent event, void *argument)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			flush_all();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			atp_headrow_forget_turns();
			memory = NULL;		/* freed with its parent */
			heads = pending = NULL;
			break;
		default:
			break;
	}
}

static void
roll_back_level(int level)
{
	/* deeper levels have ended before this one */
	while (level <= level_count && !dlist_is_empty(&levels[level - 1]))
		forget(dlist_head_element(AtpHead, in_level, &levels[level - 1]));
	while (images != NULL && images->level >= level)
	{
		Image	   *image = images;
		AtpHead    *head = find_head(&image->head.key);
		dlist_node	in_level,
					use;

		Assert(image->level == level && image->head.made_level < level);
		if (head == NULL)
			head = enter(&image->head.key, image->head.made_level);
		in_level = head->in_level;
		use = head->in_use;
		*head = image->head;
		head->in_level = in_level;
		head->in_use = use;
		set_pending(head, head->locked && !head->written);
		images = image->next;
		pfree(image);
	}
}

static void
release_level(int level)
{
	Image	   *kept = NULL;

	if (level <= level_count)
	{
		dlist_head *list = &levels[level - 1];

		while (!dlist_is_empty(list))
		{
			AtpHead    *head = dlist_head_element(AtpHead, in_level, list);

			dlist_delete(&head->in_level);
			head->made_level = head->saved_level = level - 1;
			dlist_push_tail(level_list(level - 1), &head->in_level);
		}
	}
	while (images != NULL && images->level >= level)
	{
		Image	   *image = images;
		AtpHead    *head = find_head(&image->head.key);

		images = image->next;
		if (head != NULL)
			head->saved_level = level - 1;
		if (level - 1 <= 1 || image->head.saved_level >= level - 1)
			pfree(image);		/* the level above has an image of its own, or needs none */
		else
		{
			image->level = level - 1;
			image->next = kept;
			kept = image;
		}
	}
	while (kept != NULL)
	{
		Image	   *image = kept;

		kept = image->next;
		image->next = images;
		images = image;
	}
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *argument)
{
	if (memory == NULL)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		roll_back_level(GetCurrentTransactionNestLevel());
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		release_level(GetCurrentTransactionNestLevel());
}

void
atp_stream_init(void)
{
	DefineCustomIntVariable("atp.stream_heads", "Number of stream heads that a transaction holds in memory.",
							"A transaction that appends to more streams, and to each repeatedly, writes their rows more often.",
							&setting_heads, 16384, HEADS_MIN, HEADS_MAX, PGC_USERSET, 0, NULL, NULL, NULL);
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}

/* pending_version(stream, version) and its like: what the views show inside an appending transaction. */
Datum
atp_stream_pending_version(PG_FUNCTION_ARGS)
{
	const AtpHead *head = PG_ARGISNULL(0) ? NULL : atp_stream_pending(PG_GETARG_INT64(0));

	if (head == NULL && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_INT64(head != NULL ? head->version : PG_GETARG_INT64(1));
}

Datum
atp_stream_pending_hash(PG_FUNCTION_ARGS)
{
	const AtpHead *head = PG_ARGISNULL(0) ? NULL : atp_stream_pending(PG_GETARG_INT64(0));

	if (head != NULL)
	{
		bytea	   *hash = palloc(VARHDRSZ + ATP_HASH_SIZE);

		SET_VARSIZE(hash, VARHDRSZ + ATP_HASH_SIZE);
		memcpy(VARDATA(hash), head->hash, ATP_HASH_SIZE);
		PG_RETURN_BYTEA_P(hash);
	}
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(1));
}

Datum
atp_stream_pending_recorded_at(PG_FUNCTION_ARGS)
{
	const AtpHead *head = PG_ARGISNULL(0) ? NULL : atp_stream_pending(PG_GETARG_INT64(0));

	if (head == NULL && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(head != NULL ? head->last_recorded_at : PG_GETARG_TIMESTAMPTZ(1));
}

static Datum
pending_event_id(FunctionCallInfo fcinfo, bool largest)
{
	const AtpHead *head = PG_ARGISNULL(0) ? NULL : atp_stream_pending(PG_GETARG_INT64(0));
	pg_uuid_t  *id;

	if (head == NULL && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (head == NULL)
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	id = palloc(sizeof(pg_uuid_t));
	*id = largest ? head->max_event_id : head->min_event_id;
	PG_RETURN_UUID_P(id);
}

Datum
atp_stream_pending_min_event_id(PG_FUNCTION_ARGS)
{
	return pending_event_id(fcinfo, false);
}

Datum
atp_stream_pending_max_event_id(PG_FUNCTION_ARGS)
{
	return pending_event_id(fcinfo, true);
}
