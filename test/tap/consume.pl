# atp-consume: lines of JSON, a command per event, failures, a restart of the server, a signal.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('consume');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\nmax_worker_processes = 16");
$node->start;
my $program = "$ENV{ATP_TOP}/bin/atp-consume";
my $dbname = $node->connstr('postgres');
my $dir = PostgreSQL::Test::Utils::tempdir;

sub append
{
	my ($from, $to) = @_;
	$node->safe_psql('postgres', qq{SELECT count((atp.append_event('item-' || n % 3, 'ItemAdded', jsonb_build_object('n', n))).hash)
		FROM generate_series($from, $to) n;
		SELECT atp.wait_for_event((SELECT event_id FROM atp.events ORDER BY event_id DESC LIMIT 1), '20 s')});
	return;
}

sub lines
{
	my ($file) = @_;
	return -e $file ? split /\n/, slurp_file($file) : ();
}

sub wait_until
{
	my ($condition, $what) = @_;
	for (1 .. 300)
	{
		return pass($what) if $condition->();
		select undef, undef, undef, 0.1;
	}
	return fail($what);
}

sub start
{
	my @command = @_;
	my $pid = fork // die "fork: $!";
	if (!$pid)
	{
		open STDERR, '>>', "$dir/errors" or die;
		open STDOUT, '>>', "$dir/out" or die;
		exec @command or die;
	}
	return $pid;
}

command_exit_is([ $program, '--dbname', $dbname ], 1, 'without a subscription: usage');
command_exit_is([ $program, '--subscription', 'x', '--max-count', '0' ], 1, 'a number out of range: usage');
$node->safe_psql('postgres', q{
	CREATE EXTENSION atp;
	SELECT atp.create_subscription('lines');
	SELECT atp.create_subscription('commands', categories => '{item}', max_attempts => 2, backoff => '{"initial": 0.1, "maximum": 0.1, "factor": 1, "jitter": "none"}')});
command_exit_is([ $program, '--dbname', $dbname, '--subscription', 'unknown' ], 2, 'an unknown subscription: the server refused');

append(1, 7);
my ($out, $err) = run_command([ $program, '--dbname', $dbname, '--subscription', 'lines', '--until-empty', '--max-count', '3' ]);
is(scalar(split /\n/, $out), 7, 'a line for each event');
like($out, qr/"event_type":"ItemAdded".*"payload":\{"n":1\}/, 'with type and payload');
($out, $err) = run_command([ $program, '--dbname', $dbname, '--subscription', 'lines', '--until-empty' ]);
is($out, '', 'they were acked');

# The version of the payload that is asked for.
$node->safe_psql('postgres', q{
	SELECT atp.register_schema('PartMoved', '{"required": ["zip"]}');
	SELECT atp.create_subscription('versions', event_types => '{PartMoved}');
	SELECT atp.append_event('part-1', 'PartMoved', '{"zip": "1"}');
	SELECT atp.register_schema('PartMoved', '{"required": ["postcode"]}', 'NONE');
	SELECT atp.register_upcaster('PartMoved', 1, '[{"op": "rename", "path": "/zip", "to": "postcode"}]');
	SELECT atp.tick()});
my @versions = ($program, '--dbname', $dbname, '--subscription', 'versions', '--until-empty');
command_exit_is([ @versions, '--accept-versions', '3' ], 2, 'malformed versions: the server refused');
command_exit_is([ @versions, '--accept-versions', '{"PartMoved": 7}' ], 2, 'a version that cannot be had, too');
for my $asked ('{"PartMoved": 2}', 'active', '{"PartMoved": 1}', undef)
{
	$node->safe_psql('postgres', q{SELECT atp.seek_subscription('versions', 0)});
	($out, $err) = run_command([ @versions, defined $asked ? ('--accept-versions', $asked) : () ]);
	my $version = defined $asked && $asked ne '{"PartMoved": 1}' ? 2 : 1;
	my $name = $version == 2 ? 'postcode' : 'zip';
	like($out, qr/"payload":\{"$name":"1"\}.*"schema_version":$version\b/, 'versions ' . ($asked // 'as stored'));
}

# A command per event: 3 fails for good, 5 the first time.
my $script = qq{read line; n=\$(printf %s "\$line" | sed 's/.*"n":\\([0-9]*\\).*/\\1/')
	echo "\$n \$ATP_ATTEMPT \$ATP_STREAM" >>$dir/commands; [ \$n != 3 ] || exit 65; [ \$n != 5 ] || [ \$ATP_ATTEMPT != 1 ] || exit 1};
my $pid = start($program, '--dbname', $dbname, '--subscription', 'commands', '--poll', '1', '--exec', $script);
wait_until(sub { (grep { /^5 2 / } lines("$dir/commands")) && (grep { /^6 / } lines("$dir/commands")) }, 'the failed one is tried again');
is(join(' ', sort { $a <=> $b } map { (split)[0] } grep { !/^5 1 / } lines("$dir/commands")), '1 2 3 4 5 6 7', 'each event once');
is($node->safe_psql('postgres', q{SELECT string_agg(reason, ',') FROM atp.list_dead_letters('{"subscription": "commands"}')}),
	'PermanentFailure', 'exit status 65 is a permanent failure');

# The server restarts under it, and it goes on.
$node->restart;
append(8, 10);
wait_until(sub { my %seen = map { (split)[0] => 1 } lines("$dir/commands"); $seen{8} && $seen{9} && $seen{10} }, 'it goes on after a restart of the server');

# A signal: the event in work is finished.
kill 'TERM', $pid;
waitpid $pid, 0;
is($? >> 8, 0, 'ended by SIGTERM: status 0');
is($node->safe_psql('postgres', q{SELECT count(*) FROM atp.claim_events('commands')}), 0, 'what it did is acked');

# A signal in the midst of a lease: what was not begun can be had at once.
$node->safe_psql('postgres', q{SELECT atp.create_subscription('left', streams => '{item-1}', partitions => 1, lock_duration => '1 h')});
$pid = start($program, '--dbname', $dbname, '--subscription', 'left', '--exec', "cat >>$dir/begun; sleep 1");
wait_until(sub { lines("$dir/begun") }, 'the first event is in work');
kill 'TERM', $pid;
waitpid $pid, 0;
is($? >> 8, 0, 'ended');
is($node->safe_psql('postgres', q{SELECT min(attempt) || ' ' || min((payload ->> 'n')::int) || ' ' || (count(*) > 1) FROM atp.claim_events('left')}), '1 4 true',
	'the rest comes again, as if for the first time');

# A notification wakes it long before it would look by itself.
$pid = start($program, '--dbname', $dbname, '--subscription', 'lines', '--poll', '3600');
select undef, undef, undef, 0.5;
append(11, 11);
wait_until(sub { grep { /"n":11\}/ } lines("$dir/out") }, 'woken by a notification');
kill 'INT', $pid;
waitpid $pid, 0;
is($? >> 8, 0, 'ended by SIGINT: status 0');
$node->stop;
done_testing();
