# A session of Mail::IMAPTalk over TLS and compressed, which reads every response into Perl's own structures. Arguments:
# port, CA file, user, password, messages of the mailbox Many. It ends with 0 when all is well.
use strict;
use warnings;
use utf8;
use Mail::IMAPTalk;

my ($port, $ca, $user, $password, $many) = @ARGV;

sub connected {
    my $talk = Mail::IMAPTalk->new(
        Server => 'localhost', Port => $port, UseSSL => 1, SSL_ca_file => $ca, SSL_verifycn_name => 'localhost', UseBlocking => 1,
        Username => $user, Password => $password, Uid => 1, UseCompress => 1,
    ) || die "login: $@";
    $talk->set_unicode_folders(1);
    return $talk;
}
my $mail = connected();

sub check { my ($ok, @what) = @_; die "FAILED @what: $@\n" unless $ok }

sub text { my ($n) = @_; "From: \"Bob \\\"B\\\" Test\" <bob\@test.example>\r\nTo: alice\@test.example, Zoe <zoe\@y.example>\r\nSubject: talk $n\r\nMessage-ID: <t$n\@x>\r\n"
    . "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nplain $n\r\n"
    . "--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>html $n</p>\r\n--b--\r\n" }

check($mail->capability->{$_}, "no $_") for qw(uidplus condstore qresync acl quota metadata);
my $box = "Gr\x{fc}\x{df}e/\x{65e5}\x{672c}";
check($mail->create($box), 'create');
my $list = $mail->list('', '*');
check((grep { $_->[2] eq $box } @$list), 'list');
check($mail->append($box, '(\\Seen $Label)', ' 1-Mar-2024 10:00:00 +0100', { Literal => text(1) }), 'append');
check($mail->append($box, { Literal => text(2) }), 'append without flags');
check($mail->select($box), 'select');
check($mail->get_response_code('exists') == 2 && $mail->get_response_code('uidnext') == 3, 'SELECT said', $mail->get_response_code('exists'));

my $got = $mail->fetch('1:*', '(uid flags envelope bodystructure rfc822.size internaldate body.peek[])');
check($got && keys %$got == 2, 'fetch');
check($got->{1}{'body'} eq text(1), 'the message came back otherwise', $got->{1}{'body'});
check($got->{2}{envelope}{Subject} eq 'talk 2' && $got->{1}{envelope}{From} =~ /bob\@test.example/, 'ENVELOPE');
check($got->{1}{bodystructure}{'MIME-Subparts'}[1]{'MIME-Subtype'} eq 'html', 'BODYSTRUCTURE');
check("@{[sort @{$got->{1}{flags}}]}" =~ /^\$Label .*\\Seen/i, 'FLAGS', @{$got->{1}{flags}});
check($mail->store('1:2', '+flags', '(\\Flagged)'), 'store');
my $found = $mail->search('flagged', 'subject', { Quote => 'talk 2' });
check("@$found" eq '2', 'search', @$found);
my $sorted = $mail->sort('(reverse subject)', 'utf-8', 'all');
check("@$sorted" eq '2 1', 'sort');
my $thread = $mail->thread('references', 'utf-8', 'all');
check(@$thread == 2, 'thread');
my $copied = $mail->copy('1:2', 'Archive');
check($copied && "@{$mail->get_response_code('copyuid')}[1..2]" =~ /1:2/, 'COPYUID', $mail->get_response_code('copyuid'));

# A second connection changes something, which the first is told.
my $other = connected();
check($other->select($box) && $other->store('1', '+flags', '(\\Deleted)') && $other->expunge, 'the other');
check($mail->noop && $mail->get_response_code('exists') <= 2, 'noop');
check($mail->search('all')->[0] == 2, 'what is left');
$other->logout;

check($mail->setacl($box, 'bob@test.example', 'lrs'), 'setacl');
my %acl = @{$mail->getacl($box)};
check($acl{'bob@test.example'} eq 'lrs', 'getacl', %acl);
check($mail->getquotaroot('INBOX'), 'quota');
check($mail->setmetadata($box, '/private/comment', 'Anmerkung'), 'setmetadata');
my $meta = $mail->getmetadata($box, '/private/comment');
check((grep { ($_->{'/private/comment'} // '') eq 'Anmerkung' } values %$meta), 'getmetadata');
my $status = $mail->status($box, '(messages uidnext uidvalidity highestmodseq)');
check($status->{messages} == 1 && $status->{uidnext} == 3, 'status');
check($mail->unselect, 'unselect');
check($mail->rename($box, "Sp\x{e4}ter"), 'rename');
check($mail->status("Sp\x{e4}ter", '(messages)')->{messages} == 1, 'renamed');
check($mail->delete("Sp\x{e4}ter"), 'delete');

check($mail->examine('Many'), 'Many');
my $all = $mail->fetch('1:*', '(flags envelope)');
check(keys %$all == $many && $all->{$many}{envelope}{Subject} eq 'message number ' . ($many - 1), 'all of Many', scalar keys %$all);
check($mail->logout, 'logout');
