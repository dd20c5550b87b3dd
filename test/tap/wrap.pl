# Transaction ids wrap: the log goes on across the end of an epoch, with a writer open on the other side of it. Placed by ticks by hand, so
# that each step is known.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('wrap');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nlog_statement = none\nautovacuum = off\natp.worker_enabled = off\nmax_prepared_transactions = 2");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION atp');
$node->safe_psql('postgres', q{SELECT atp.append_event('wrap-1', 'LoadAdded'); SELECT atp.tick()});

# Moves the next transaction id on, at most two thousand million at once, with everything before it frozen.
sub jump
{
	my ($xid) = @_;
	$node->safe_psql($_, 'VACUUM FREEZE') for 'postgres', 'template1';
	$node->safe_psql('postgres', 'ALTER DATABASE template0 ALLOW_CONNECTIONS on');
	$node->safe_psql('template0', 'VACUUM FREEZE');
	$node->stop;
	my $segment = sprintf('%s/pg_xact/%04X', $node->data_dir, $xid >> 20);
	append_to_file($segment, "\0" x (32 * 8192)) unless -e $segment;
	command_ok([ 'pg_resetwal', '-x', $xid, $node->data_dir ], "next transaction id $xid");
	$node->start;
}
jump(1500000000 & ~0x7FFF);
jump(3000000000 & ~0x7FFF);
$node->safe_psql('postgres', q{SELECT atp.append_event('wrap-1', 'LoadAdded'); SELECT atp.tick()});
jump(4294967296 - 32768);

my $xid = 'SELECT pg_current_xact_id()::text::bigint';
cmp_ok($node->safe_psql('postgres', $xid), '<', 4294967296, 'before the wrap');
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN');
$writer->query_safe(q{SELECT atp.append_event('wrap-open', 'LoadAdded')});
$node->safe_psql('postgres', q{BEGIN; SELECT atp.append_event('wrap-prepared', 'LoadAdded'); PREPARE TRANSACTION 'wrap'});
is($node->safe_psql('postgres', q{SELECT FROM atp.append_event('wrap-1', 'LoadAdded'); SELECT atp.tick()}), '1', 'placed while two are open');

# Subtransactions use up the rest of the epoch.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE burnt (n int);
DO $$
BEGIN
	FOR i IN 1..33000 LOOP
		BEGIN
			INSERT INTO burnt VALUES (i);
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END LOOP;
END $$;
SQL
cmp_ok($node->safe_psql('postgres', $xid), '>', 4294967296, 'after the wrap');
is($node->safe_psql('postgres', q{DO $$ BEGIN FOR i IN 1..10 LOOP PERFORM atp.append_event('wrap-1', 'LoadAdded'); END LOOP; END $$; SELECT atp.tick()}), '10',
	'placed on the other side, the same two still open');
$writer->query_safe('COMMIT');
$writer->quit;
is($node->safe_psql('postgres', 'SELECT atp.tick()'), '1', 'the one that was open across the wrap');
$node->safe_psql('postgres', q{COMMIT PREPARED 'wrap'});
is($node->safe_psql('postgres', 'SELECT atp.tick()'), '1', 'the one that was prepared across it');
is($node->safe_psql('postgres', 'SELECT atp.tick()'), '0', 'nothing is left');
is($node->safe_psql('postgres', 'SELECT ok, checked, fault FROM atp.verify_all()'), 't|15|', 'everything verifies');
is($node->safe_psql('postgres', 'SELECT fault FROM atp.sequencer_status'), '', 'no fault');
$node->stop;
done_testing();
