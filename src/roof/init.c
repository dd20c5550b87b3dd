/*
 * The roof: module load. _PG_init lists the initialisers of the rooms, ground floor first; each registers its own settings and
 * hooks. This is the only file that may know every room.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "record/envelope.h"
#include "record/eventtype.h"
#include "log/checkpoint.h"
#include "log/leaf.h"
#include "record/tenant.h"
#include "record/validator.h"
#include "stream/append.h"
#include "stream/partition.h"
#include "stream/repeat.h"
#include "stream/stream.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	atp_tenant_init();
	atp_eventtype_init();
	atp_envelope_init();
	atp_validator_init();
	atp_partition_init();
	atp_stream_init();
	atp_repeat_init();
	atp_append_init();
	atp_leaf_init();
	atp_checkpoint_init();
	MarkGUCPrefixReserved("atp");
}
