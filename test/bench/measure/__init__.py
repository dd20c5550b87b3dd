"""The measurements, in the order in which they run. Each takes the bench and adds tables and aims to its report."""
from measure import append, batch, delivery, fanout, hot, latency, log, size, store

ALL = {
    'append': append.many_streams,
    'flush': append.slower_flush,
    'category': append.one_category,
    'hot': hot.one_stream,
    'batch': batch.fifties,
    'bulk': batch.thousands,
    'saturation': log.saturation,
    'sequencer': log.backlog,
    'latency': latency.wake_up,
    'read': store.read,
    'verify': store.verify,
    'delivery': delivery.consume,
    'fanout': fanout.subscriptions,
    'to_consumer': fanout.to_consumer,
    'size': size.bytes_per_event,
}
