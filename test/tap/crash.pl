# Release gate 2: kill -9 of a backend, of the worker in the middle of a large transaction's slices, and of the postmaster, while clients
# append. Nothing that was acknowledged is lost, nothing that was placed changes its place, chain and log verify. ATP_LONG=1: more rounds.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

use constant CLIENTS => 6;

my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'atp'
restart_after_crash = on
log_statement = none
shared_buffers = 128MB
atp.sequencer_slice_size = 100
CONF
$node->append_conf('postgresql.conf', 'fsync = off') unless $ENV{ATP_LONG};	# processes die here, not the machine
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION atp');
$node->safe_psql('postgres', q{SELECT atp.append_event('crash-0', 'LoadAdded')});

my $unplaced = q{SELECT count(*) FROM atp_internal.event e WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id)};
my $worker = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'atp worker' AND datname = 'postgres'};
my %acknowledged;
my %place;

# Clients that print the id of each event that was acknowledged to them, until the server is gone.
sub start_clients
{
	my @clients;

	for my $n (1 .. CLIENTS)
	{
		my $client = { out => '', err => '' };
		my $file = PostgreSQL::Test::Utils::tempdir() . "/client$n.sql";

		append_to_file($file, join '', map { my $s = ($_ % 5) + $n; "SELECT 'id', event_id FROM atp.append_event('crash-$s', 'LoadAdded', '{\"n\": $_}');\n" } 1 .. 20000);
		$client->{psql} = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-f', $file ], '<', \undef, '>', \$client->{out}, '2>', \$client->{err});
		push @clients, $client;
	}
	return @clients;
}

# What a consumer has seen of the log so far must not change any more.
sub read_places
{
	for (split /\n/, $node->safe_psql('postgres', 'SELECT log_position, event_id FROM atp_internal.log'))
	{
		my ($position, $event) = split /\|/;
		return "position $position was $place{$position}, is $event" if ($place{$position} // $event) ne $event;
		$place{$position} = $event;
	}
	return 'as it was';
}

# Lets the clients work for a while, kills, and checks what is left.
sub round
{
	my ($name, $kill) = @_;
	my @clients = start_clients();

	for (1 .. 200)
	{
		$_->{psql}->pump_nb for @clients;
		last if @clients == grep { $_->{out} =~ /(?:.*\n){20}/ } @clients;
		sleep 0.05;
	}
	read_places();
	$kill->();
	my $until = time + 20;
	while (grep { $_->{psql}->pumpable } @clients)
	{
		$_->{psql}->pumpable and $_->{psql}->pump_nb for @clients;
		last if time > $until;
		sleep 0.02;
	}
	for (@clients) { eval { $_->{psql}->finish } or $_->{psql}->kill_kill; }
	my @acknowledged = map { $_->{out} =~ /^id\|(\S{36})\n/mg } @clients;
	cmp_ok(scalar(@acknowledged), '>=', 20 * CLIENTS, "$name: clients were at work (" . @acknowledged . ' acknowledged)');
	$acknowledged{$_} = 1 for @acknowledged;

	ok($node->poll_query_until('postgres', 'SELECT 1', '1'), "$name: the server is back");
	ok($node->poll_query_until('postgres', $unplaced, '0'), "$name: the worker at boot places what was left over");
	my %stored = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT event_id FROM atp_internal.event');
	is(scalar(grep { !$stored{$_} } keys %acknowledged), 0, "$name: nothing that was acknowledged is lost");
	is(read_places(), 'as it was', "$name: nothing that was placed has moved");
	is($node->safe_psql('postgres', q{SELECT count(*) = max(log_position) AND count(DISTINCT event_id) = count(*) FROM atp_internal.log}),
		't', "$name: the log is dense, nothing is numbered twice");
	is($node->safe_psql('postgres', 'SELECT ok, fault FROM atp.verify_all()'), 't|', "$name: everything verifies");
}

# In the middle of a transaction's slices: the log's last row says so, and nothing but the worker moves it.
sub wait_for_slices
{
	$node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT atp.append_event('slices-1', 'LoadAdded') FROM generate_series(1, 20000)) b});
	for (1 .. 2000)
	{
		last if $node->safe_psql('postgres', 'SELECT in_work FROM atp.sequencer_status') eq 't';
	}
	read_places();
}

for my $turn (1 .. ($ENV{ATP_LONG} ? 10 : 1))
{
	round('backend killed', sub {
		kill 'KILL', $node->safe_psql('postgres',
			q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND query LIKE 'SELECT ''id''%' LIMIT 1});
	});
	round('worker killed', sub {
		wait_for_slices();
		my $pid = $node->safe_psql('postgres', $worker);
		cmp_ok($pid, '>', 0, 'there is a worker to kill') and kill 'KILL', $pid;
	});
	round('postmaster killed', sub {
		wait_for_slices();
		my ($pid) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
		$node->kill9;
		for (1 .. 200) { last unless kill 0, $pid; sleep 0.1; }	# until somebody has reaped it
		$node->start;
	});
}
$node->stop;
done_testing();
