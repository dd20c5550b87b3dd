/* One call on a subscription; see delivery.h. */
#include "delivery/delivery.h"

#include "common/hashfn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define STRIPE 64				/* consecutive positions of one partition where there is no order key */

void
atp_delivery_begin(AtpDelivery *delivery, const char *tenant, const char *subscription)
{
	memset(delivery, 0, sizeof(*delivery));
	atp_tenant_resolve(tenant, &delivery->tenant);
	delivery->name = pstrdup(subscription);
	delivery->subscription = atp_subscription_open(delivery->tenant.tenant, delivery->name);
	delivery->now = GetCurrentTimestamp();
}

void
atp_delivery_end_feed(AtpDelivery *delivery)
{
	if (delivery->feed == NULL)
		return;
	atp_feed_end(delivery->feed);
	PopActiveSnapshot();
	delivery->feed = NULL;
}

void
atp_delivery_end(AtpDelivery *delivery)
{
	atp_delivery_end_feed(delivery);
	for (int i = 0; i < ATP_PARTITIONS_MAX; i++)
		if (delivery->cursors[i] != NULL)
			atp_cursor_write(delivery->cursors[i]);
}

AtpFeed *
atp_delivery_feed(AtpDelivery *delivery)
{
	if (delivery->feed == NULL)
	{
		PushActiveSnapshot(GetLatestSnapshot());
		delivery->feed = atp_feed_begin(GetActiveSnapshot());
	}
	return delivery->feed;
}

AtpCursor *
atp_delivery_cursor(AtpDelivery *delivery, int partition, bool wait)
{
	AtpSubscription *subscription = delivery->subscription;
	AtpCursor  *cursor = delivery->cursors[partition];

	if (cursor != NULL)
		return cursor;
	if (!atp_cursor_lock(subscription->subscription, partition, wait))
		return NULL;
	if (!atp_subscription_is_current(subscription))
	{
		int32		locked = subscription->subscription;

		delivery->subscription = subscription = atp_subscription_open(delivery->tenant.tenant, delivery->name);
		if (subscription->subscription != locked)	/* another of this name: the lock is of the one that was dropped */
		{
			atp_cursor_unlock(locked, partition);
			return atp_delivery_cursor(delivery, partition, wait);
		}
	}
	cursor = atp_cursor_read(subscription->tenant, subscription->subscription, partition);
	if (wait)
		delivery->now = GetCurrentTimestamp();
	return delivery->cursors[partition] = cursor;
}

bool
atp_delivery_fetch(AtpDelivery *delivery, const AtpLogRow *row, AtpWanted *wanted)
{
	if (!wanted->fetched)
		wanted->fetched = atp_feed_fetch(atp_delivery_feed(delivery), row, &wanted->event);
	return wanted->fetched;
}

static int64
metadata_key(const AtpSubscription *subscription, const AtpLogRow *row, const AtpFeedEvent *event)
{
	char	   *text = atp_filter_metadata_text(event, subscription->order_member);

	if (text == NULL)
		return (int64) atp_feed_spread((uint64) row->stream);
	return (int64) DatumGetUInt64(hash_any_extended((unsigned char *) text, strlen(text), 0));
}

bool
atp_delivery_partition(AtpDelivery *delivery, const AtpLogRow *row, AtpWanted *wanted, int *partition)
{
	const AtpSubscription *subscription = delivery->subscription;

	switch (subscription->order_key)
	{
		case ATP_ORDER_STREAM:
			wanted->key = (int64) atp_feed_spread((uint64) row->stream);
			break;
		case ATP_ORDER_NONE:
			wanted->key = (int64) atp_feed_spread((uint64) row->log_position);
			*partition = (int) ((row->log_position / STRIPE) % subscription->partitions);
			return true;
		case ATP_ORDER_METADATA:
			if (!atp_delivery_fetch(delivery, row, wanted))
				return false;
			wanted->key = metadata_key(subscription, row, &wanted->event);
			break;
	}
	*partition = (int) ((uint64) wanted->key % (uint64) subscription->partitions);
	return true;
}

int64
atp_delivery_skip(const AtpDelivery *delivery, const AtpLogRow *row, int partition)
{
	int			partitions = delivery->subscription->partitions;
	int64		stripe = row->log_position / STRIPE;
	int			ahead = (partition - (int) (stripe % partitions) + partitions) % partitions;

	if (delivery->subscription->order_key != ATP_ORDER_NONE || ahead == 0)
		return 0;
	return (stripe + ahead) * STRIPE - 1;
}

bool
atp_delivery_place(AtpDelivery *delivery, const AtpLogRow *row, int64 *key, int *partition)
{
	AtpWanted	wanted = {0};

	if (!atp_delivery_partition(delivery, row, &wanted, partition) || !atp_delivery_fetch(delivery, row, &wanted))
		return false;
	*key = wanted.key;
	return true;
}

AtpFilterVerdict
atp_delivery_wants(AtpDelivery *delivery, const AtpLogRow *row, int partition, int *found, AtpWanted *wanted)
{
	AtpSubscription *subscription = delivery->subscription;
	bool		early = subscription->order_key != ATP_ORDER_METADATA;
	int			of = 0;

	wanted->fetched = false;
	wanted->error = NULL;
	if (row->tenant != subscription->tenant)
		return ATP_FILTER_NO;
	if (early && atp_delivery_partition(delivery, row, wanted, &of) && partition >= 0 && of != partition)
		return ATP_FILTER_NO;
	if (!atp_filter_wants_row(subscription->filter, row, NULL))
		return ATP_FILTER_NO;
	if (!early && (!atp_delivery_partition(delivery, row, wanted, &of) || (partition >= 0 && of != partition)))
		return ATP_FILTER_NO;
	if (found != NULL)
		*found = of;
	if (!atp_filter_needs_event(subscription->filter))
		return ATP_FILTER_YES;
	if (!atp_delivery_fetch(delivery, row, wanted))
		return ATP_FILTER_NO;
	return atp_filter_wants_event(subscription->filter, row, &wanted->event, NULL, &wanted->error);
}
