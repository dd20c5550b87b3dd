# atp.signing_key_file: what is taken for a key, what is refused and never waited for, and rotation with two keys in it.
use strict;
use warnings;

use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $bin = "$ENV{ATP_TOP}/bin";
my $dir = PostgreSQL::Test::Utils::tempdir();
chmod 0755, $dir;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\natp.worker_enabled = off\n");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Makes a checkpoint with this file; returns the SQLSTATE and DETAIL of the error, or how many have signed it.
my $n = 0;
sub with_file
{
	my ($path) = @_;
	$node->append_conf('postgresql.conf', "atp.signing_key_file = '$path'\n");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('atp.signing_key_file') = '$path'") or die;
	$n++;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET statement_timeout = '20s'; SELECT atp.append_event('order-1', 'OrderPlaced', '{\"n\": $n}') IS NULL; SELECT atp.tick() IS NULL; SELECT atp.create_checkpoint() IS NULL");
	return "$1: $2" if $err =~ /ERROR:  (\w+):.*?DETAIL:  ([^\n]*)/s;
	return sql('SELECT signatures FROM atp.list_checkpoints() LIMIT 1');
}

sub write_file
{
	my ($path, $text, $mode) = @_;
	open my $out, '>', $path or die "$path: $!";
	print $out $text;
	close $out;
	chmod $mode, $path;
	return $path;
}

sub generate
{
	my ($name) = @_;
	IPC::Run::run([ "$bin/atp-signer", 'generate', "$dir/$name", 'audit.example.com' ], '>', \my $key) or die;
	chomp $key;
	return ($key, slurp_file("$dir/$name"));
}

sql('CREATE EXTENSION atp');
my ($first, $first_secret) = generate('first');
my ($second, $second_secret) = generate('second');

like(with_file('first'), qr/^TP503: The path is not absolute/, 'a path that is not absolute');
like(with_file("$dir/nothing"), qr/^TP503: It cannot be found/, 'no such file');
like(with_file(write_file($node->data_dir . '/key', $first_secret, 0600)), qr/^TP503: It lies in the data directory/, 'in the data directory');
symlink $node->data_dir . '/key', "$dir/inside";
like(with_file("$dir/inside"), qr/^TP503: It lies in the data directory/, 'a link into the data directory');
like(with_file(write_file("$dir/open", $first_secret, 0640)), qr/^TP503: It is not a regular file/, 'readable by the group');
like(with_file($dir), qr/^TP503: It is not a regular file/, 'a directory');
POSIX::mkfifo("$dir/fifo", 0600) or die;
like(with_file("$dir/fifo"), qr/^TP503: It is not a regular file/, 'a FIFO, which is not waited for');
like(with_file(write_file("$dir/empty", '', 0600)), qr/^TP503: It is empty/, 'empty');
like(with_file(write_file("$dir/large", $first_secret x 200, 0600)), qr/^TP503: It is empty, too large/, 'too large');
like(with_file(write_file("$dir/bad", "PRIVATE+KEY+nonsense\n", 0600)), qr/^TP503: A line is not a signing key/, 'no key');
like(with_file(write_file("$dir/half", $first_secret . "nonsense\n", 0600)), qr/^TP503: A line is not a signing key/, 'a key and something else');
is(with_file("$dir/first"), 1, 'a key signs');
symlink "$dir/first", "$dir/link";
is(with_file("$dir/link"), 1, 'also by way of a link');
is(with_file(write_file("$dir/both", $first_secret . $second_secret, 0600)), 2, 'overlap: two keys sign');
my $overlap = sql('SELECT max(size) FROM atp.list_checkpoints()');
sql("SELECT atp.retire_signing_key('$first')");
is(with_file("$dir/both"), 1, 'a retired key signs no more');
is(sql(qq{SELECT atp.note_verify(atp.get_checkpoint(), '$second'), atp.note_verify(atp.get_checkpoint(), '$first')}), 't|f', '... the other one does');
is(sql("SELECT atp.note_verify(atp.get_checkpoint($overlap), '$first')"), 't', 'what it signed before stands');
is(with_file("$dir/first"), 0, 'alone it signs nothing');
sql("SELECT atp.disown_signing_key('$second')");
is(sql(qq{SELECT count(*) FROM atp.list_checkpoints() WHERE signatures > 0}), 3, 'what only a compromised key has signed counts no more, of the past too');
is(sql(qq{SELECT atp.note_has_key(atp.get_checkpoint(), '$second'), atp.note_verify(atp.get_checkpoint(), '$first')}), 'f|t', 'the newest that counts is the retired key\'s');
is(sql(q{SELECT string_agg(event_type || ' ' || coalesce(payload -> 'Changes' ->> 'State', 'active'), ', ' ORDER BY recorded_at) FROM atp.events WHERE stream LIKE 'atp.SigningKey-%'}),
	'PolicyCreated active, PolicyCreated active, PolicyUpdated retired, PolicyUpdated compromised', 'each change of a key is an event');
is(sql(q{SELECT level FROM atp.doctor() WHERE check_name = 'signing_key_file'}), 'warning', 'the doctor says what such a key does not prove');
is(sql(q{SELECT count(*) FROM atp.events WHERE payload::text ~ 'PRIVATE' OR metadata::text ~ 'PRIVATE'}), 0, 'no secret is in an event');
unlike(slurp_file($node->logfile), qr/PRIVATE\+KEY\+audit/, 'nor in the log');
$node->stop;
done_testing();
