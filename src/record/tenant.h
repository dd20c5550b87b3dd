/* Tenants: resolution by name or key through a per-backend cache, and who may see which. */
#ifndef ATP_TENANT_H
#define ATP_TENANT_H

#include "postgres.h"

#define ATP_TENANT_NAME_MAX 128

typedef struct AtpTenant
{
	int32		tenant;
	int16		alg;
	bool		active;			/* takes events */
	bool		deleted;		/* takes none ever again */
	uint8		log_uid[16];
	char		name[ATP_TENANT_NAME_MAX + 1];
} AtpTenant;

/*
 * Fills `tenant` for a name (NULL: the setting atp.tenant, or the tenant default where that is empty). Raises TP201 for a
 * malformed name, TP202 where there is no such tenant, 42501 where atp.tenant_allowed does not list it.
 */
extern void atp_tenant_resolve(const char *name, AtpTenant *tenant);

/* The same by key, without regard to atp.tenant_allowed; false where there is none. */
extern bool atp_tenant_get(int32 key, AtpTenant *tenant);

/* The tenant default, whose log has what the platform records of no tenant in particular. */
extern void atp_tenant_get_default(AtpTenant *tenant);

/* Raises TP203 unless the tenant takes events. */
extern void atp_tenant_require_active(const AtpTenant *tenant);

/* Makes the rows of a tenant visible to the rest of the transaction; the caller has resolved it. */
extern void atp_tenant_open_key(int32 key);

extern void atp_tenant_init(void);

#endif
