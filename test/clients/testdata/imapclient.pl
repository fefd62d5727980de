# A session of Mail::IMAPClient. Arguments: port, CA file, user, password, messages of the mailbox
# Many, how (tls, starttls). It ends with 0 when all is well.
use strict;
use warnings;
use utf8;
use Mail::IMAPClient;

my ($port, $ca, $user, $password, $many, $how) = @ARGV;
my @verify = (SSL_ca_file => $ca, SSL_verifycn_name => 'localhost', SSL_verify_mode => 1);
my $mail = Mail::IMAPClient->new(
    Server => 'localhost', Port => $port, User => $user, Password => $password, Timeout => 40, Uid => 1, Ignoresizeerrors => 0,
    $how eq 'tls' ? (Ssl => [@verify]) : (Starttls => [@verify]),
) or die "connect: $@";

sub check { my ($ok, @what) = @_; die "FAILED @what: " . ($mail->LastError // '') . "\n" unless $ok }

sub text { my ($n) = @_; "From: Bob <bob\@test.example>\r\nTo: alice\@test.example\r\nSubject: perl $n\r\nDate: Fri, 1 Mar 2024 0$n:00:00 +0100\r\nMessage-ID: <p$n\@x>\r\n"
    . ($n > 1 ? "In-Reply-To: <p1\@x>\r\nReferences: <p1\@x>\r\n" : '') . "\r\nline $n\r\n.\r\n" . "x" x (100 * $n) . "\r\n" }

check($mail->has_capability($_), "no $_") for qw(UIDPLUS NAMESPACE IDLE ACL QUOTA SORT);

# Mailboxes; names in modified UTF-7, and one with quotes.
my $box = 'Gr&APwA3w-e "und" \\mehr';
check($mail->create($box), 'create');
check($mail->subscribe($box), 'subscribe');
check(scalar(grep { $_ eq $box } $mail->folders), 'folders', $mail->folders);
check(scalar(grep { $_ eq $box } $mail->subscribed), 'subscribed');
check($mail->exists($box) && !$mail->exists('nowhere'), 'exists');

# Messages in and out.
for my $n (1 .. 3) {
    my $uid = $mail->append_string($box, text($n), $n == 2 ? '\\Seen $Label' : undef, " 1-Mar-2024 0$n:00:00 +0100");
    check($uid == $n, "APPENDUID $uid");
}
check($mail->select($box), 'select');
check($mail->message_count == 3 && $mail->unseen_count == 2 && $mail->uidnext($box) == 4, 'counts');
check($mail->message_string(3) eq text(3), 'the message came back otherwise');
check($mail->size(3) == length text(3), 'size');
my $headers = $mail->parse_headers([1 .. 3], 'Subject', 'Date');
check($headers->{2}{Subject}[0] eq 'perl 2', 'headers');
my $structure = $mail->get_bodystructure(1);
check($structure->bodytype eq 'TEXT', 'BODYSTRUCTURE');
my $envelope = $mail->get_envelope(1);
check($envelope->subject eq 'perl 1' && $envelope->messageid eq '<p1@x>', 'ENVELOPE');
check($mail->internaldate(2) eq ' 1-Mar-2024 02:00:00 +0100' || $mail->internaldate(2) eq '01-Mar-2024 02:00:00 +0100', 'INTERNALDATE', $mail->internaldate(2));

# Flags, searches, sorts, threads.
check($mail->store('1:2', '+FLAGS', '(\\Flagged)'), 'store');
check(join(' ', sort $mail->flags(2)) =~ /\$Label .*\\Flagged .*\\Seen/, 'flags', $mail->flags(2));
check("@{[$mail->search('FLAGGED')]}" eq '1 2', 'search');
check("@{[$mail->search('SUBJECT', 'perl 3')]}" eq '3', 'search for a subject');
check(!(my @none = $mail->search('SUBJECT', 'nothing')), 'search for nothing');
check("@{[$mail->sort('REVERSE DATE', 'UTF-8', 'ALL')]}" eq '3 2 1', 'sort', $mail->sort('REVERSE DATE', 'UTF-8', 'ALL'));
my $threads = $mail->thread('REFERENCES', 'UTF-8', 'ALL');
check(@$threads == 1, 'thread');

# Copy, move, expunge.
my $archived = $mail->message_count('Archive');
check($mail->copy('Archive', 1), 'copy');
check($mail->move('Archive', 2), 'move');
check($mail->expunge, 'expunge');
check("@{[$mail->messages]}" eq '1 3', 'left', $mail->messages);
check($mail->delete_message(3) && $mail->expunge, 'delete');
check($mail->message_count('Archive') == $archived + 2, 'Archive');

# Another session is heard in IDLE.
my $other = Mail::IMAPClient->new(Server => 'localhost', Port => $port, User => $user, Password => $password, Timeout => 40,
    $how eq 'tls' ? (Ssl => [@verify]) : (Starttls => [@verify])) or die "second: $@";
my $tag = $mail->idle or die 'idle';
check($other->append_string($box, text(4)), 'append of the other');
my $told = $mail->idle_data(20);
check($told && grep { /EXISTS/ } @$told, 'no EXISTS came');
check($mail->done($tag), 'done');
$other->logout;

# Rights, quota, status.
check($mail->setacl($box, 'bob@test.example', 'lr'), 'setacl');
check($mail->getacl($box)->{'bob@test.example'} eq 'lr', 'getacl');
check($mail->deleteacl($box, 'bob@test.example'), 'deleteacl');
check($mail->getquotaroot($box), 'quota');

# Renamed and removed.
check($mail->close, 'close');
check($mail->rename($box, 'Sp&AOQ-ter'), 'rename');
check($mail->message_count('Sp&AOQ-ter') == 2, 'renamed');
check($mail->unsubscribe($box), 'unsubscribe');
check($mail->delete('Sp&AOQ-ter'), 'remove');

# A large mailbox.
check($mail->examine('Many') && $mail->message_count == $many, 'Many');
my $flags = $mail->flags(scalar $mail->messages);
check(keys %$flags == $many, 'flags of all', scalar keys %$flags);
my $all = $mail->parse_headers(scalar $mail->messages, 'Subject');
check($all->{$many}{Subject}[0] eq 'message number ' . ($many - 1), 'headers of all');
check($mail->logout, 'logout');
