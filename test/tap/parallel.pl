# Release gate 3: twenty appends to one stream at the same moment. With expected_version NULL all land; with the same expected version
# exactly one does, and the others learn the actual version. Twenty sessions wait behind one lock, so that they start together.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant SESSIONS => 20;

my $node = PostgreSQL::Test::Cluster->new('parallel');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\nmax_connections = 60\nfsync = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION atp');

# Runs one statement in each session at once; returns the results and the messages of those that failed.
sub together
{
	my (@statements) = @_;
	my $gate = $node->background_psql('postgres');
	my @running;
	my $count = @statements;

	$gate->query_safe('SELECT pg_advisory_lock(20)');
	for my $statement (@statements)
	{
		my ($out, $err) = ('', '');
		my $psql = [
			'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'),
			'-c', 'SELECT pg_advisory_lock_shared(20)', '-c', $statement ];
		push @running, { out => \$out, err => \$err };
		$running[-1]{psql} = IPC::Run::start($psql, '<', \undef, '>', \$out, '2>', \$err);
	}
	$node->poll_query_until('postgres',
		"SELECT count(*) = $count FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
	$gate->query_safe('SELECT pg_advisory_unlock(20)');
	$gate->quit;
	$_->{psql}->finish for @running;
	return ([ map { ${ $_->{out} } =~ /(\d+)/ ? $1 : () } grep { ${ $_->{err} } eq '' } @running ],
		[ grep { $_ ne '' } map { ${ $_->{err} } } @running ]);
}

sub verify
{
	my ($stream, $version) = @_;
	is( $node->safe_psql('postgres', "SELECT ok, checked, (atp.get_stream('$stream')).version FROM atp.verify_stream('$stream')"),
		"t|$version|$version", "stream $stream verifies at version $version");
}

for my $round (1 .. 3)
{
	my $stream = "order-$round";
	my ($landed, $failed) = together(("SELECT stream_version FROM atp.append_event('$stream', 'OrderPlaced')") x SESSIONS);
	is_deeply([ sort { $a <=> $b } @$landed ], [ 1 .. SESSIONS ], "round $round: all appends land, one version each");
	is_deeply($failed, [], "round $round: none fails");
	verify($stream, SESSIONS);

	for my $expected (0, 1)
	{
		($landed, $failed) =
		  together(("SELECT stream_version FROM atp.append_event('alone-$round', 'OrderPlaced', expected_version => $expected)") x SESSIONS);
		is_deeply($landed, [ $expected + 1 ], "round $round: exactly one append at version $expected lands");
		my $actual = $expected + 1;
		is(scalar(grep { /ERROR:  TP101: .*DETAIL:  It is at version $actual\b/s } @$failed),
			SESSIONS - 1, "round $round: the others are told the version");
		verify("alone-$round", $expected + 1);
	}
}

# Batches, keys and single appends at once: a batch is never torn.
my $batch = q{SELECT count(*) FROM atp.append_events('mixed-1', (SELECT jsonb_agg(jsonb_build_object('event_type', 'LineAdded',
	'payload', jsonb_build_object('batch', pg_backend_pid(), 'n', n)) ORDER BY n) FROM generate_series(1, 25) n))};
my $single = q{SELECT stream_version FROM atp.append_event('mixed-1', 'OrderPlaced')};
my $key = q{SELECT stream_version FROM atp.append_event('mixed-1', 'OrderPaid', idempotency_key => 'paid')};
my (undef, $failed) = together(($batch) x 8, ($single) x 8, ($key) x 4);
is_deeply($failed, [], 'batches, keys and single appends all land');
verify('mixed-1', 8 * 25 + 8 + 1);
is( $node->safe_psql('postgres', q{SELECT count(*), bool_and(last - first = 24) FROM (SELECT min(stream_version) AS first, max(stream_version) AS last
	FROM atp.events WHERE stream = 'mixed-1' AND event_type = 'LineAdded' GROUP BY payload ->> 'batch') b}),
	'8|t', 'each batch stands together');

$node->stop;
done_testing();
