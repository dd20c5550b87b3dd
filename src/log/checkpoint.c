/* Checkpoints; see checkpoint.h. What is plain bookkeeping is SQL, in checkpoint.sql. */
#include "log/checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "core/note.h"
#include "core/record.h"
#include "log/tile.h"
#include "pg/canonical.h"
#include "pg/errors.h"
#include "pg/query.h"
#include "pg/scan.h"
#include "pg/worker.h"

PG_FUNCTION_INFO_V1(atp_checkpoint_append_heads);
PG_FUNCTION_INFO_V1(atp_checkpoint_sign_by_key_file);

#define KEY_FILE_MAX 8192
#define COMPARE_INTERVAL (10 * USECS_PER_SEC)

static char *setting_key_file;
static int	setting_interval = 60;

/* ---- the root log ---- */

typedef struct Heads
{
	AtpTree    *tree;
	int64		count;
} Heads;

static bool
append_head(void *context, TupleTableSlot *row)
{
	static AtpQuery insert = {
		"INSERT INTO atp_internal.tenant_head (leaf, tenant, size, root) VALUES ($1, $2, $3, $4)",
		4, {INT8OID, INT4OID, INT8OID, BYTEAOID}
	};
	Heads	   *heads = context;
	Datum	   *values = row->tts_values;
	bytea	   *root = DatumGetByteaPP(values[3]);
	Datum		arguments[] = {Int64GetDatum((int64) heads->tree->range.size), values[0], values[2], values[3]};
	uint8		hash[ATP_HASH_SIZE];

	if (VARSIZE_ANY_EXHDR(root) != ATP_HASH_SIZE)
		ereport(ERROR, errcode(ATP_ERR_INTEGRITY_FAULT), errmsg("the root of a tree has a wrong length"),
				errdetail("Tenant with key %d.", DatumGetInt32(values[0])));
	if (!atp_head_hash(DatumGetUUIDP(values[1])->data, (uint64) DatumGetInt64(values[2]), (uint8 *) VARDATA_ANY(root), hash))
		elog(ERROR, "SHA-256 failed in OpenSSL");
	SPI_connect();				/* of its own: we are inside a row of a scan */
	atp_query(&insert, arguments, NULL, false, 0);
	SPI_finish();
	atp_tile_append(heads->tree, hash, 0);
	heads->count++;
	return true;
}

/* append_heads() */
Datum
atp_checkpoint_append_heads(PG_FUNCTION_ARGS)
{
	static AtpScan scan = {
		"SELECT r.tenant, t.log_uid, r.size, r.root FROM atp_internal.tree r JOIN atp_internal.tenant t ON t.tenant = r.tenant"
		" WHERE r.size > coalesce((SELECT h.size FROM atp_internal.tenant_head h WHERE h.tenant = r.tenant"
		" ORDER BY h.leaf DESC LIMIT 1), 0) ORDER BY r.tenant"
	};
	Heads		heads = {0};
	const char *fault;

	PreventCommandIfReadOnly("create_checkpoint()");
	SPI_connect();
	heads.tree = atp_tile_open(ATP_ROOT_LOG, CurrentMemoryContext, &fault);
	if (heads.tree == NULL)
		ereport(ERROR, errcode(ATP_ERR_INTEGRITY_FAULT), errmsg("the stored root log does not verify"),
				errdetail("%s.", fault));
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	atp_scan(&scan, NULL, append_head, &heads);
	PopActiveSnapshot();
	atp_tile_save(heads.tree);
	SPI_finish();
	PG_RETURN_INT64(heads.count);
}

/* ---- the key file ---- */

static void
refuse_file(const char *why)
{
	ereport(ERROR, errcode(ATP_ERR_INVALID_KEY), errmsg("the file of atp.signing_key_file is unusable"),
			errdetail("%s.", why),
			errhint("It lies outside the data directory, belongs to the server's user, has mode 0600, and holds one "
					"PRIVATE+KEY+... a line."));
}

static bool
is_within(const char *path, const char *directory)
{
	char		real[PATH_MAX];
	size_t		size;

	if (realpath(directory, real) == NULL)
		return true;
	size = strlen(real);
	return strncmp(path, real, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

/* Reads the file into `contents`, which the caller wipes; returns its size. Raises TP503; nothing is in `contents` then. */
static size_t
read_key_file(char contents[KEY_FILE_MAX])
{
	char		real[PATH_MAX];
	struct stat status;
	ssize_t		size;
	int			file;

	if (!is_absolute_path(setting_key_file))
		refuse_file("The path is not absolute");
	if (realpath(setting_key_file, real) == NULL)
		refuse_file(psprintf("It cannot be found: %s", strerror(errno)));
	if (is_within(real, DataDir))
		refuse_file("It lies in the data directory, and so in every backup");
	file = open(real, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);	/* a FIFO does not keep us waiting */
	if (file < 0)
		refuse_file(psprintf("It cannot be opened: %s", strerror(errno)));
	if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || (status.st_mode & 077) != 0 || status.st_uid != geteuid())
	{
		close(file);
		refuse_file("It is not a regular file of the server's user that nobody else has any right on");
	}
	size = read(file, contents, KEY_FILE_MAX);
	close(file);
	if (size <= 0 || size == KEY_FILE_MAX)
	{
		atp_sign_wipe(contents, KEY_FILE_MAX);
		refuse_file("It is empty, too large or unreadable");
	}
	return (size_t) size;
}

typedef struct Signed			/* what one key made; room is taken before there is a secret in memory */
{
	AtpBuf		note;
	AtpBuf		vkey;
} Signed;

#define KEYS_MAX 8

/* Signs with each key of the file. Nothing in here raises. Returns the number of keys, -1 where a line is no key. */
static int
sign_with_all(char *contents, size_t size, const char *body, size_t body_size, Signed signed_by[KEYS_MAX])
{
	int			count = 0;

	for (char *line = contents; line < contents + size;)
	{
		char	   *end = memchr(line, '\n', contents + size - line);
		size_t		length = (end != NULL ? end : contents + size) - line;
		AtpSkey		key;
		bool		done;

		if (length > 0)
		{
			if (count == KEYS_MAX || !atp_skey_parse(line, length, &key))
				return -1;
			done = atp_note_sign(&signed_by[count].note, body, body_size, &key);
			atp_vkey_write(&signed_by[count].vkey, &key.vkey);
			atp_sign_wipe(&key, sizeof(key));
			if (!done || signed_by[count].note.failed)
				return -1;
			count++;
		}
		line += length + 1;
	}
	return count;
}

/* sign_by_key_file(body) */
Datum
atp_checkpoint_sign_by_key_file(PG_FUNCTION_ARGS)
{
	char	   *body = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Signed		signed_by[KEYS_MAX];
	char		contents[KEY_FILE_MAX];
	size_t		size;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	if (setting_key_file == NULL || setting_key_file[0] == '\0')
		PG_RETURN_NULL();
	for (int i = 0; i < KEYS_MAX; i++)
	{
		atp_buf_init_palloc(&signed_by[i].note, CurrentMemoryContext);
		atp_buf_init_palloc(&signed_by[i].vkey, CurrentMemoryContext);
		atp_buf_reserve(&signed_by[i].note, ATP_NOTE_SIGNED_SIZE(strlen(body), KEY_FILE_MAX));
		atp_buf_reserve(&signed_by[i].vkey, KEY_FILE_MAX);
	}
	size = read_key_file(contents);
	count = sign_with_all(contents, size, body, strlen(body), signed_by);
	atp_sign_wipe(contents, sizeof(contents));
	if (count < 0)
		refuse_file("A line is not a signing key");
	for (int i = 0; i < count; i++)
	{
		AtpBuf	   *note = &signed_by[i].note;
		size_t		skip = strlen(body) + 1;
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = PointerGetDatum(cstring_to_text_with_len((char *) signed_by[i].vkey.data, signed_by[i].vkey.size));
		values[1] = PointerGetDatum(cstring_to_text_with_len((char *) note->data + skip, note->size - skip));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}

/* Takes the lock of who makes checkpoints; false: somebody else holds it, and the other jobs do not wait for the end of that. */
static bool
try_lock(void)
{
	static AtpQuery lock = {"SELECT FROM atp_internal.checkpoint_state FOR UPDATE SKIP LOCKED"};
	static AtpQuery look = {"SELECT FROM atp_internal.checkpoint_state"};

	atp_query(&lock, NULL, NULL, false, 1);
	if (SPI_processed > 0)
		return true;
	atp_query(&look, NULL, NULL, false, 1);
	return SPI_processed == 0;	/* there is nothing to lock yet */
}

/*
 * Says whether a checkpoint is due (ATP_WORK_DONE), will be (LATER), or nothing is new.
 *
 * A tree has grown when it was changed after the last checkpoint. That can miss one: growth that was not committed when the checkpoint was
 * made has an earlier time, and clocks go back. So every now and then sizes are compared, tree by tree, which costs more.
 */
static AtpWork
look(void)
{
	static AtpQuery query = {
		"SELECT coalesce((SELECT s.made_at FROM atp_internal.checkpoint_state s), '-infinity')"
		" < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1)"
		" WHERE EXISTS (SELECT FROM atp_internal.tree r WHERE r.tenant <> 0 AND ($2 OR r.changed_at >"
		" coalesce((SELECT s.made_at FROM atp_internal.checkpoint_state s), '-infinity'))"
		" AND r.size > coalesce((SELECT h.size FROM atp_internal.tenant_head h WHERE h.tenant = r.tenant"
		" ORDER BY h.leaf DESC LIMIT 1), 0))", 2, {INT4OID, BOOLOID}
	};
	static TimestampTz compared_at = 0;
	TimestampTz now = GetCurrentTimestamp();
	bool		compare = now - compared_at >= COMPARE_INTERVAL || now < compared_at;
	Datum		arguments[] = {Int32GetDatum(setting_interval), BoolGetDatum(compare)};
	bool		null;

	atp_query(&query, arguments, NULL, true, 1);
	if (SPI_processed > 0 && DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null)))
		return ATP_WORK_DONE;	/* who asked acts on it, or asks again: that is a comparison, too */
	if (compare)
		compared_at = now;
	return SPI_processed > 0 ? ATP_WORK_LATER : ATP_WORK_NONE;
}

static AtpWork
look_and(bool make)
{
	static AtpQuery query = {"SELECT atp_internal.make_checkpoint()"};
	AtpWork		work;

	if (!atp_worker_begin())
		return ATP_WORK_GONE;
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	work = look();
	if (make && work == ATP_WORK_DONE && !try_lock())
		work = ATP_WORK_LATER;
	if (make && work == ATP_WORK_DONE)
		atp_query(&query, NULL, NULL, false, 1);
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	return work;
}

AtpWork
atp_checkpoint_look(void)
{
	return look_and(false);
}

AtpWork
atp_checkpoint_work(void)
{
	return look_and(true);
}

void
atp_checkpoint_init(void)
{
	DefineCustomIntVariable("atp.checkpoint_interval", "Time between checkpoints, if something is new.", NULL,
							&setting_interval, 60, 1, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("atp.signing_key_file", "File with the key that signs checkpoints, for development.",
							   "Absolute path outside the data directory, mode 0600. Whoever can read it can sign anything: a signature "
							   "by it proves nothing against the owner of the server. Empty: atp-signer signs, outside.",
							   &setting_key_file, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
}
