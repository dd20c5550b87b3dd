# Trees and checkpoints under crashes and on a replica: the worker killed while it grows them, the server stopped in the middle,
# proofs and bundles from a standby, and the signer going on after promotion.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $bin = "$ENV{ATP_TOP}/bin";
my $dir = PostgreSQL::Test::Utils::tempdir();
my $origin = 'audit.example.com/atp';
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\natp.checkpoint_interval = 1\nmax_worker_processes = 16\nrestart_after_crash = on\n");
$node->start;

sub tool
{
	my ($name, @arguments) = @_;
	my $out = '';
	IPC::Run::run([ "$bin/$name", @arguments ], '>', \$out, '2>&1');
	return ($? >> 8, $out);
}

sub load
{
	my ($seconds) = @_;
	open my $script, '>', "$dir/load.sql" or die $!;
	print $script "SELECT atp.append_event('order-' || (random() * 200)::int, 'OrderPlaced', '{\"n\": 1}');\n";
	close $script;
	return IPC::Run::start([ 'pgbench', '-n', '-c', '4', '-T', $seconds, '-f', "$dir/load.sql", $node->connstr('postgres') ], '>', \my $out, '2>', \my $err);
}

# Waits until everything is a leaf; then says whether every event is one, once, and all verifies.
sub whole
{
	my ($name) = @_;
	$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM atp_internal.event e WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id)
		AND NOT EXISTS (SELECT FROM atp_internal.event_type y WHERE y.event_type = e.event_type AND y.builtin)}) or die 'the log does not catch up';
	$node->safe_psql('postgres', 'SELECT atp.grow_trees()');
	is($node->safe_psql('postgres', q{SELECT (SELECT sum(size) FROM atp.list_trees()) = (SELECT log_position FROM atp_internal.leaf_state)}), 't', "$name: each row of the log is a leaf, once");
	is($node->safe_psql('postgres', 'SELECT ok FROM atp.verify_all()'), 't', "$name: chains verify");
	is($node->safe_psql('postgres', 'SELECT ok FROM atp.verify_trees()'), 't', "$name: trees verify");
	return;
}

my (undef, $key) = tool('atp-signer', 'generate', "$dir/key", 'audit.example.com');
chomp $key;
$node->safe_psql('postgres', 'CREATE EXTENSION atp');
$node->safe_psql('postgres', "SELECT atp.set_origin('$origin'); SELECT atp.add_signing_key('$key')");

my $run = load(4);
for (1 .. 4)
{
	sleep 1;
	my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'atp worker' LIMIT 1});
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)") if $pid;
}
$run->finish;
whole('the worker ended again and again');

$run = load(3);
sleep 2;
my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'atp worker' LIMIT 1});
kill 'KILL', $pid if $pid;
$run->finish;
sleep 1; $node->poll_query_until("postgres", "SELECT true", "t") or die "no recovery";
whole('the worker killed');

$run = load(3);
sleep 2;
$node->stop('immediate');
$run->finish;
$node->start;
whole('the server stopped at once');

my ($status, $said) = tool('atp-signer', 'run', "$dir/key", "$dir/state", $node->connstr('postgres'));
is($status, 0, 'a checkpoint is signed') or diag($said);

# ---- a replica proves and exports what the primary has ----

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
my $event = $node->safe_psql('postgres', q{SELECT event_id FROM atp.events WHERE event_type = 'OrderPlaced' ORDER BY event_id LIMIT 1});
is($standby->safe_psql('postgres', "SELECT atp.prove_event('$event') ->> 'leaf_hash' = (SELECT encode(hash, 'hex') FROM atp.events WHERE event_id = '$event')"), 't', 'a standby proves an event');
for my $of ($node, $standby)
{
	open my $out, '>', "$dir/bundle" or die $!;
	print $out $of->safe_psql('postgres', 'SELECT atp.export_bundle()'), "\n";
	close $out;
	($status, $said) = tool('atp-verify', '--trust', $key, '--origin', $origin, '--known-head', "$dir/known", "$dir/bundle");
	is($status, 0, 'a bundle of the ' . $of->name) or diag($said);
}
$node->stop;
$standby->promote;
$standby->safe_psql('postgres', q{SELECT atp.append_event('order-1', 'OrderPlaced'); });
$standby->safe_psql('postgres', q{SELECT atp.tick(); });
$standby->safe_psql('postgres', q{SELECT atp.create_checkpoint()});
($status, $said) = tool('atp-signer', 'run', "$dir/key", "$dir/state", $standby->connstr('postgres'));
is($status, 0, 'the signer goes on with the promoted standby') or diag($said);
is($standby->safe_psql('postgres', 'SELECT ok FROM atp.verify_trees()'), 't', 'whose trees verify');
$standby->stop;
done_testing();
