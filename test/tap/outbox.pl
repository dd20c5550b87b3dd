# Relays to Debezium's outbox event router, read back through logical slots with wal2json and with pgoutput.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('outbox');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\nmax_worker_processes = 16");
$node->start;
# Releases from November 2026 on load only the output plugins that are listed.
my $plugins = $node->safe_psql('postgres', q{SELECT 'listed: ' || setting FROM pg_settings WHERE name = 'output_plugin_libraries'});
if ($plugins =~ s/^listed: //)
{
	$plugins = join ', ', grep { /\S/ } split(/\s*,\s*/, $plugins), 'wal2json';
	$node->safe_psql('postgres', "ALTER SYSTEM SET output_plugin_libraries = $plugins");
	$node->reload;
}
my $has_wal2json = $node->psql('postgres', q{SELECT pg_create_logical_replication_slot('probe', 'wal2json')}) == 0;
$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('probe')}) if $has_wal2json;

$node->safe_psql('postgres', q{
	CREATE EXTENSION atp;
	SELECT atp.create_subscription('messages', categories => '{order}');
	SELECT atp.create_relay('by-message', 'messages');
	SELECT atp.create_subscription('rows', event_types => '{OrderPlaced}');
	SELECT atp.create_relay('by-table', 'rows', mode => 'table');
	CREATE PUBLICATION outbox FOR TABLE atp.outbox_event WITH (publish = 'insert');
	SELECT pg_create_logical_replication_slot('by_pgoutput', 'pgoutput');
});
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('by_wal2json', 'wal2json')}) if $has_wal2json;
$node->safe_psql('postgres', q{
	SELECT atp.append_event('order-a-1', 'OrderPlaced', '{"total": 1.50}');
	SELECT atp.append_event('order-a-1', 'OrderPaid', '{"by": "card"}');
	SELECT atp.append_event('invoice-1', 'InvoiceSent', '{}');
});
ok($node->poll_query_until('postgres', q{
	SELECT count(*) FILTER (WHERE get_byte(data, 0) = ascii('M')) >= 2 AND count(*) FILTER (WHERE get_byte(data, 0) = ascii('I')) >= 1
	FROM pg_logical_slot_peek_binary_changes('by_pgoutput', NULL, NULL, 'proto_version', '1', 'publication_names', 'outbox', 'messages', 'true')}),
	'both relays have caught up');

is($node->safe_psql('postgres', 'SELECT count(*) FROM atp.outbox_event'), 0, 'the outbox table is empty');
my $ids = $node->safe_psql('postgres', q{SELECT string_agg(event_id::text, ' ' ORDER BY stream_version) FROM atp.events WHERE stream = 'order-a-1'});
my ($placed, $paid) = split ' ', $ids;

SKIP:
{
	skip 'wal2json is not installed', 4 unless $has_wal2json;
	my @messages = split /\n/, $node->safe_psql('postgres', q{
		SELECT data::jsonb ->> 'content' FROM pg_logical_slot_get_changes('by_wal2json', NULL, NULL, 'format-version', '2',
			'add-msg-prefixes', 'outbox', 'filter-tables', 'atp_internal.*,pg_catalog.*') WHERE data::jsonb ->> 'action' = 'M'});
	is(scalar @messages, 2, 'wal2json: a message for each event of the category, once');
	like($messages[0], qr/"id": "$placed"/, 'in order: the first');
	like($messages[0], qr/(?=.*"aggregatetype": "order")(?=.*"aggregateid": "a-1")(?=.*"type": "OrderPlaced")(?=.*"payload": \{"total": 1\.5)/,
		'with the columns of the router');
	like($messages[1], qr/"id": "$paid"/, 'the second');
}

my @changes = map { pack 'H*', $_ } split /\n/, $node->safe_psql('postgres', q{
	SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('by_pgoutput', NULL, NULL,
		'proto_version', '1', 'publication_names', 'outbox', 'messages', 'true')});
my @inserts = grep { /^I/ } @changes;
is(scalar @inserts, 1, 'pgoutput: one row for the event of the type');
like($inserts[0], qr/$placed.*order.*a-1.*OrderPlaced.*"total": 1\.5/s, 'with the columns of the router');
my @emitted = grep { /^M.{9}outbox\0/s } @changes;
is(scalar @emitted, 2, 'pgoutput: the messages too');
like($emitted[1], qr/"id": "$paid"/, 'in order');
$node->stop;
done_testing();
