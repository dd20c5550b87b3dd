# A byte changed in the files of the stopped server, without any trigger or privilege being asked: verification names the place.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('verify');
$node->init(no_data_checksums => 1);	# later releases have them unless told otherwise, and would refuse the pages that are changed below
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\natp.worker_enabled = off\nautovacuum = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION atp');
$node->safe_psql('postgres', q{SET atp.actor = 'the-actor-7a3f';
	SELECT count(atp.append_event('Victim-' || i % 3, 'PaymentMade', jsonb_build_object('amount', 'marker-' || i)) IS NULL) FROM generate_series(1, 60) AS i});
$node->safe_psql('postgres', q{SELECT atp.append_event('Large-1', 'PaymentMade', jsonb_build_object('text', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) AS i)))});
$node->safe_psql('postgres', 'SELECT atp.tick(); SELECT atp.grow_trees()');
my $verdict = q{SELECT concat_ws('|', ok, first_fault_tenant, first_fault_stream, first_fault_version, first_fault_position, fault) FROM atp.verify_all()};
is($node->safe_psql('postgres', $verdict), 't', 'as it was written, all is well');

my $leaf = $node->safe_psql('postgres', q{SELECT tableoid::regclass FROM atp_internal.event LIMIT 1});
my ($leaf_toast, $edge_toast) = map { $node->safe_psql('postgres', "SELECT reltoastrelid::regclass FROM pg_class WHERE oid = '$_'::regclass") } $leaf, 'atp_internal.tree_edge';
my %file = map { $_ => $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('$_')") }
	($leaf, 'atp_internal.log', 'atp_internal.stream', 'atp_internal.event_type', 'atp_internal.tree', $leaf_toast, $edge_toast);
my $id = $node->safe_psql('postgres', q{SELECT encode(uuid_send(l.event_id), 'hex') FROM atp_internal.log l WHERE log_position = 11});
my $hash = $node->safe_psql('postgres', q{SELECT encode(hash, 'hex') FROM atp.events WHERE stream = 'Victim-2' AND stream_version = 4});

# Replaces bytes in a file of the stopped server, asks for the verdict, and puts them back.
sub tampered
{
	my ($table, $from, $to, $ask) = @_;
	$node->stop;
	open my $fh, '+<:raw', $file{$table} or die "$file{$table}: $!";
	my $bytes = do { local $/; <$fh> };
	my $found = () = $bytes =~ /\Q$from\E/g;
	my $at = index($bytes, $from);
	die 'cannot find what to change in ' . $table if $at < 0;
	seek $fh, $at, 0;
	print $fh $to;
	close $fh;
	$node->start;
	my $answer = $node->safe_psql('postgres', $ask // $verdict);
	$node->stop;
	open $fh, '+<:raw', $file{$table} or die;
	seek $fh, $at, 0;
	print $fh $from;
	close $fh;
	$node->start;
	return $answer;
}

is(tampered($leaf, 'marker-29', 'marker-39'), 'f|default|Victim-2|10|29|hash does not match', 'one digit of a payload');
is(tampered($leaf, pack('H*', $hash), pack('H*', $hash) ^ ("\0" x 31 . "\1")), 'f|default|Victim-2|4|11|hash does not match', 'one bit of a hash');
is( tampered('atp_internal.log', pack('H*', $id), pack('H*', $id) ^ ("\0" x 8 . "\1" . "\0" x 7)),
	'f|default|Victim-2|4|11|event does not exist', 'one bit of an id in the log, whose index still has the old one');
like(tampered($leaf, pack('H*', $id), pack('H*', $id) ^ ("\0" x 8 . "\1" . "\0" x 7)), qr/^f\|default\|Victim-2\|4\|.*hash does not match$/, 'and of the id in the event');
like(tampered('atp_internal.stream', 'Victim-1', 'Victim-9'), qr/^f.*another name/, 'the name of a stream: its first event carries it');
sub bytes { return pack('H*', $node->safe_psql('postgres', "SELECT encode($_[0], 'hex')")) }
sub of_event { return bytes("(SELECT $_[0] FROM atp_internal.event e JOIN atp_internal.stream s USING (stream) WHERE s.name = 'Victim-2' AND stream_version = 4)") }
my $bit = "\0" x 7 . "\1";
my $salts = of_event('e.salts');
my $moment = reverse of_event('int8send((extract(epoch FROM e.occurred_at - timestamptz \'2000-01-01 00:00Z\') * 1000000)::bigint)');    # as a little-endian machine stores it
is(tampered($leaf, $salts, $salts ^ ("\0" x 24 . $bit)), 'f|default|Victim-2|4|11|hash does not match', 'one bit of a salt');
like(tampered($leaf, $moment, $moment ^ "\1"), qr/^f\|default\|Victim-2\|4\|.*hash does not match$/, 'one microsecond of a header');
like(tampered($leaf, 'the-actor-7a3f', 'the-actor-7a3e'), qr/^f\|default\|Victim-\d\|\d+\|\d+\|hash does not match$/, 'one letter of metadata');
my $md5 = $node->safe_psql('postgres', q{SELECT md5('150')});
is(tampered($leaf_toast, $md5, scalar reverse $md5), 'f|default|Large-1|1|61|hash does not match', 'in TOAST');
like(tampered('atp_internal.event_type', 'PaymentMade', 'PaymentMate'), qr/^f\|default\|.*hash does not match$/, 'the name of a type');
my $trees = q{SELECT concat_ws('|', ok, fault) FROM atp.verify_trees()};
is($node->safe_psql('postgres', $trees), 't', 'trees as they were built');
my $leaf_hash = pack('H*', $hash);
my ($peaks, $root) = map { bytes("(SELECT $_ FROM atp_internal.tree WHERE tenant = 1)") } qw(peaks root);
is(tampered($edge_toast, $leaf_hash, $leaf_hash ^ ($bit x 4), $trees), 'f|the event is not the leaf of the tree', 'one bit in a tile');
is(tampered('atp_internal.tree', $peaks, substr($peaks, 0, 8) ^ $bit, $trees), 'f|the compact range is not that of the leaves', 'one bit in the compact range');
is(tampered('atp_internal.tree', $root, substr($root, 0, 8) ^ $bit, $trees), 'f|the root is not that of the leaves', 'one bit in the root');

# An index that lies: what is there is whole, and readers, who go by index, miss it.
my $index = "${leaf}_version";
$file{$index} = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('$index')");
my $stream = $node->safe_psql('postgres', q{SELECT stream FROM atp_internal.stream WHERE name = 'Victim-2'});
my ($entry, $lie) = map { pack('q<q<l<', $stream + $_, 4, 1) } 0, 1000;
my $asked = q{SELECT concat_ws('|', a.ok, d.ok, d.first_fault_stream, d.first_fault_version, d.fault) FROM atp.verify_all() a, atp.verify_all(true) d};
is(tampered($index, $entry, $lie, $asked), 't|f|Victim-2|4|event is missing', 'an index that hides an event: deep says so');
is($node->safe_psql('postgres', "$verdict UNION ALL $trees"), "t\nt", 'put back, all is well');

# Beside appends, roll-backs to savepoints and the worker's ticks nothing is a fault.
$node->append_conf('postgresql.conf', "atp.worker_enabled = on\nfsync = off");
$node->restart;
my $script = PostgreSQL::Test::Utils::tempdir() . '/appends';
append_to_file($script, <<'SQL');
\set s random(1, 20)
\set r random(1, 4)
BEGIN;
SELECT (atp.append_event('Hot-' || :s, 'PaymentMade')).stream_version;
SAVEPOINT a;
SELECT (atp.append_event('Cold-' || :s, 'PaymentMade')).stream_version;
\if :r = 1
ROLLBACK TO a;
\endif
SELECT (atp.append_event('Hot-' || :s, 'PaymentMade')).stream_version;
COMMIT;
SQL
my $bench = IPC::Run::start([ 'pgbench', '-n', '-f', $script, '-c', '4', '-T', $ENV{ATP_LONG} ? 60 : 4, $node->connstr('postgres') ],
	'>', \my $out, '2>', \my $err);
my ($rounds, @faults) = (0);
while ($bench->pumpable)
{
	$bench->pump_nb;
	my $answer = $node->safe_psql('postgres', "$verdict UNION ALL SELECT concat_ws('|', ok, first_fault_position, fault) FROM atp.verify_log()");
	push @faults, $answer if $answer ne "t\nt";
	$rounds++;
}
$bench->finish;
cmp_ok($rounds, '>', 3, 'asked while appends ran');
is_deeply(\@faults, [], 'and nothing was a fault');
cmp_ok($node->safe_psql('postgres', 'SELECT checked FROM atp.verify_all()'), '>', 500, 'of a good many events') or diag($err);

# Parallel workers: the same verdict, also with fewer than asked for or none; the user's cancel and an error of one end all.
$node->append_conf('postgresql.conf', "atp.worker_enabled = off\nmax_parallel_workers = 4");
$node->restart;
sub launched
{
	my ($settings, $arguments) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "$settings SET client_min_messages = debug1; SELECT ok, checked FROM atp.verify_all($arguments)");
	my ($many) = $err =~ /verification: (\d+) of/;
	return "$many $out";
}
my $all = $node->safe_psql('postgres', 'SELECT ok, checked FROM atp.verify_all(workers => 0)');
is(launched('', 'workers => 2'), "2 $all", 'two workers');
is(launched('', 'true, 3'), "3 $all", 'three, deep');
is(launched('SET max_parallel_workers = 1;', 'workers => 2'), "1 $all", 'one where two were asked for');
is(launched('SET max_parallel_workers = 0;', 'workers => 2'), "0 $all", 'none to be had');
is(launched('SET max_parallel_maintenance_workers = 0;', ''), "0 $all", 'none by default where maintenance has none');
is(launched('SET maintenance_work_mem = 1024;', 'workers => 2'), "2 $all", 'little memory');
my $one_more = (split /\|/, $all)[1] + 1;
is(launched(q{BEGIN; SELECT FROM atp.append_event('Own-1', 'PaymentMade');}, 'workers => 2'), "2 t|$one_more", 'workers see what this transaction has appended');
is(launched(q{BEGIN; SELECT FROM atp.append_event('Victim-1', 'PaymentMade'); SELECT FROM atp.append_event('Victim-1', 'PaymentMade');}, 'workers => 2'),
	"0 t|@{[$one_more + 1]}", 'none where it holds heads of streams that only it knows');
$node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT atp.append_event('More-' || i % 500, 'PaymentMade', jsonb_build_object('text', repeat('x', 1000)))
	FROM generate_series(1, 20000) i) x});
my ($rc, undef, $said) = $node->psql('postgres', 'SET statement_timeout = 25; SELECT atp.verify_all(workers => 2)');
like($said, qr/statement timeout/, 'cancelled');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'parallel worker'}), 'no worker is left');
$node->stop;
my $size = -s $file{$leaf};
open my $broken, '+<:raw', $file{$leaf} or die;
seek $broken, $size - 8192, 0;
read $broken, my $page, 8192;
seek $broken, $size - 8192, 0;
print $broken "\xff" x 64;
close $broken;
$node->start;
($rc, undef, $said) = $node->psql('postgres', 'SELECT atp.verify_all(workers => 2)');
like($said, qr/invalid page in block/, 'a page that cannot be read is an error, and no verdict');
$node->stop;
open $broken, '+<:raw', $file{$leaf} or die;
seek $broken, $size - 8192, 0;
print $broken $page;
close $broken;
$node->start;
is(launched('', 'workers => 2') =~ s/\|.*//r, '2 t', 'put back, all is well');
$node->stop;
done_testing();
