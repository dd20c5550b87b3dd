/*
 * What is recorded of an export. It does not hang on the export's transaction: that it began is committed before the first line leaves,
 * by a process of its own, together with a row of atp_internal.open_export, which names the transaction. The row goes with the end of
 * the export. One whose transaction is gone is an export that failed, and is swept up by the worker.
 */
#ifndef ATP_EXPORTRECORD_H
#define ATP_EXPORTRECORD_H

#include "postgres.h"

#include "utils/uuid.h"

#include "core/bundleline.h"
#include "pg/worker.h"

typedef struct AtpExportRecord
{
	int32		tenant;
	pg_uuid_t	id;
	bool		is_requested;	/* request_export() has recorded that */
	bool		is_committed;	/* what was recorded of the beginning stands, whatever becomes of this transaction */
	char	   *requested_by;
	char	   *stream;			/* of the filter; NULL: none */
	const AtpBundleManifest *manifest;
	int64		leaves;			/* -1: not known yet */
	MemoryContext memory;		/* that outlives an error */
} AtpExportRecord;

/* The caller is connected to SPI. */
extern void atp_exportrecord_start(AtpExportRecord *record, int64 first_position, int64 last_position);
extern void atp_exportrecord_end(AtpExportRecord *record, int64 events, int64 bytes, const uint8 *digest, size_t digest_size);

/* Called where an error has been caught, which goes on afterwards: what it says stands in ExportFailed. */
extern void atp_exportrecord_failure(AtpExportRecord *record);

#define ATP_EXPORTRECORD_PERIOD 2000	/* ms */

/* Worker job: records exports as failed that broke off. */
extern AtpWork atp_exportrecord_work(void);

#endif
