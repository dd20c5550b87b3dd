# Events that make their leaf as they commit: the commit wakes the worker before other backends are told of the leaf, and the worker must
# not pass over it. One processor for all, so that the worker runs just then.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

system("taskset -pc 0 $$ >/dev/null 2>&1");
my $node = PostgreSQL::Test::Cluster->new('new_leaf');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION atp');
$node->safe_psql('postgres', q{SELECT atp.append_event('leaf-0', 'LeafTested')});
my $script = "SET atp.event_id_window_past = 2000000000; SET atp.partition_interval = day;\n";
$script .= sprintf("SELECT atp.append_event('leaf-%d', 'LeafTested', event_id => '%012x70008000000000000001'); SELECT pg_sleep(0.005);\n",
	$_, 1577836800000 + $_ * 86400000) for 1 .. 100;
$node->safe_psql('postgres', $script);
my $last = $node->safe_psql('postgres', q{SELECT event_id FROM atp.append_event('leaf-0', 'LeafTested')});
$node->safe_psql('postgres', "SELECT atp.wait_for_event('$last')");
is($node->safe_psql('postgres', q{SELECT count(*) FROM atp.outbox WHERE NOT published}), '0', 'every event has its place in the log');
is($node->safe_psql('postgres', 'SELECT ok FROM atp.verify_log()'), 't', 'the log verifies');
$node->stop;
done_testing();
