# COMPRESS=DEFLATE with Mail::IMAPClient. Arguments: port, user, password.
use strict;
use warnings;
use Mail::IMAPClient;

my ($port, $user, $password) = @ARGV;
my $mail = Mail::IMAPClient->new(Server => 'localhost', Port => $port, User => $user, Password => $password, Timeout => 30)
    or die "connect: $@";
$mail->compress or die "compress: " . $mail->LastError;
my $body = "Subject: perl\r\n\r\n" . "All work and no play makes Jack a dull boy.\r\n" x 2000;
my $uid = $mail->append_string('INBOX', $body) or die "append: " . $mail->LastError;
$mail->select('INBOX') or die "select: " . $mail->LastError;
for (1 .. 50) { $mail->noop or die "noop: " . $mail->LastError }
my $got = $mail->message_string($uid) or die "fetch: " . $mail->LastError;
$got eq $body or die "the message came back otherwise";
$mail->store($uid, '+FLAGS', '(\Flagged)') or die "store: " . $mail->LastError;
my @found = $mail->search('FLAGGED') or die "search: " . $mail->LastError;
grep { $_ == $uid } @found or die "not found";
$mail->logout or die "logout";
