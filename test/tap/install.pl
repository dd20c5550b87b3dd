# The extension is created, dropped and created again, and outlives a crash; its preloaded form starts.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('install');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'");
$node->start;

$node->safe_psql('postgres', 'CREATE EXTENSION atp');
my $members = $node->safe_psql('postgres',
	q{SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid WHERE e.extname = 'atp' AND d.deptype = 'e'});
cmp_ok($members, '>', 0, 'the extension has members');

$node->stop('immediate');
$node->start;
is( $node->safe_psql('postgres', q{SELECT count(*) FROM pg_extension WHERE extname = 'atp'}),
	1, 'the extension outlives a crash');

$node->safe_psql('postgres', 'DROP EXTENSION atp CASCADE');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM pg_namespace WHERE nspname = 'atp_internal'}),
	0, 'dropping leaves nothing inside');

$node->safe_psql('postgres', 'CREATE EXTENSION atp');
is( $node->safe_psql('postgres',
		q{SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid WHERE e.extname = 'atp' AND d.deptype = 'e'}),
	$members, 'creating it again makes the same members');

$node->stop;
done_testing();
