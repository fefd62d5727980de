// A session of imapflow, as a mail client in Node works: two connections of one user, one of
// which hears by IDLE what the other does. It is called with one JSON object: module (the folder
// of imapflow), port, secure, ca (certificate file), user, password, many (messages of the
// mailbox Many), other (a mailbox that somebody shares). It ends with 0 when all is well.
'use strict';
const fs = require('fs');
const args = JSON.parse(process.argv[2]);
const { ImapFlow } = require(args.module);

function check(condition, ...what) {
    if (!condition) {
        console.log('FAILED', ...what);
        process.exit(1);
    }
}

async function connect(more) {
    const client = new ImapFlow({
        host: 'localhost',
        port: args.port,
        secure: args.secure,
        doSTARTTLS: !args.secure,
        tls: { ca: fs.readFileSync(args.ca), servername: 'localhost' },
        auth: { user: args.user, pass: args.password },
        clientInfo: { name: 'imapflow', version: 'test' },
        logger: args.log ? console : false,
        ...more
    });
    client.on('error', err => check(false, err));
    await client.connect();
    check(client.secureConnection, 'not encrypted');
    return client;
}

// told waits for an event for which condition holds.
function told(client, event, condition) {
    return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('no ' + event + ' came by itself')), 20000);
        client.on(event, function hear(data) {
            if (condition(data)) {
                clearTimeout(timer);
                client.off(event, hear);
                resolve(data);
            }
        });
    });
}

async function gather(messages) {
    const list = [];
    for await (const m of messages) {
        list.push(m);
    }
    return list;
}

function text(subject, body) {
    return 'From: "Bob Test" <bob@test.example>\r\nTo: alice@test.example\r\nSubject: ' + subject +
        '\r\nMessage-ID: <' + encodeURIComponent(subject) + '@imapflow>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n' +
        'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n' + body + '\r\n--b\r\n' +
        'Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="a b.bin"\r\nContent-Transfer-Encoding: base64\r\n\r\n' +
        Buffer.alloc(3000, 7).toString('base64').replace(/.{76}/g, '$&\r\n') + '\r\n--b--\r\n';
}

async function main() {
    const client = await connect();
    const watcher = await connect({ qresync: true });

    // Mailboxes with names of every kind.
    const box = 'Grüße & Küsse/日本語';
    check((await client.mailboxCreate(box)).created, 'create');
    check(!(await client.mailboxCreate(box)).created, 'created twice');
    await client.mailboxSubscribe(box);
    let list = await client.list({ statusQuery: { messages: true, unseen: true, uidNext: true, highestModseq: true } });
    let found = list.find(m => m.path === box);
    check(found && found.subscribed && found.status.messages === 0, 'LIST', found);
    check(list.find(m => m.path === 'Many').status.messages === args.many, 'STATUS of Many');
    for (const use of ['\\Sent', '\\Trash', '\\Drafts', '\\Junk', '\\Archive', '\\Inbox']) {
        check(list.find(m => m.specialUse === use), 'nothing is', use);
    }
    check(list.find(m => m.path === args.other), 'what is shared is not listed', list.map(m => m.path));

    // Push: what one does the other hears while it idles.
    await watcher.mailboxOpen(box);
    watcher.idle();
    let news = told(watcher, 'exists', e => e.path === box && e.count === 3);
    const uids = [];
    for (const n of [1, 2, 3]) {
        const put = await client.append(box, text('Nummer ' + n + ' ä', 'Zeile ' + n), n === 2 ? ['\\Seen', '$Label'] : [], new Date(Date.UTC(2024, 1, 28 + n)));
        check(put && put.destination === box && put.uid === n, 'APPENDUID', put);
        uids.push(put.uid);
    }
    await news;
    const lock = await client.getMailboxLock(box);
    news = told(watcher, 'flags', e => e.seq === 1 && e.flags.has('\\Flagged'));
    check(await client.messageFlagsAdd('1', ['\\Flagged'], { uid: true }), 'flags');
    await news;
    news = told(watcher, 'expunge', e => e.path === box && e.vanished && e.uid === 3);
    check(await client.messageDelete('3', { uid: true }), 'delete');
    await news;

    // What comes back.
    const modseq = BigInt((await client.status(box, { highestModseq: true })).highestModseq);
    const messages = await gather(client.fetch('1:*', { uid: true, flags: true, envelope: true, internalDate: true, size: true, bodyStructure: true, source: true, headers: ['subject'], threadId: true }));
    check(messages.length === 2, 'fetched', messages.length);
    check(messages[0].flags.has('\\Flagged') && messages[1].flags.has('\\Seen') && messages[1].flags.has('$Label'), 'flags', messages.map(m => [...m.flags]));
    check(messages[0].source.toString() === text('Nummer 1 ä', 'Zeile 1'), 'the source came back otherwise', messages[0].source.toString());
    check(messages[1].envelope.from[0].address === 'bob@test.example' && messages[1].size === messages[1].source.length, 'envelope', messages[1].envelope);
    check(messages[1].internalDate.toISOString().startsWith('2024-03-01'), 'INTERNALDATE', messages[1].internalDate);
    check(messages[0].bodyStructure.childNodes.length === 2 && messages[0].bodyStructure.childNodes[1].dispositionParameters.filename === 'a b.bin', 'BODYSTRUCTURE', messages[0].bodyStructure);
    check(messages[0].emailId && messages[0].threadId, 'OBJECTID', messages[0].emailId, messages[0].threadId);
    const part = await client.download('1', '2', { uid: true, maxBytes: 1 << 20 });
    const chunks = [];
    for await (const chunk of part.content) {
        chunks.push(chunk);
    }
    check(Buffer.concat(chunks).equals(Buffer.alloc(3000, 7)), 'the attachment came back otherwise');

    // Changes since: CONDSTORE.
    await client.messageFlagsSet('2', ['\\Answered'], { uid: true });
    const changed = await gather(client.fetch('1:*', { uid: true, flags: true }, { changedSince: modseq }));
    check(changed.length === 1 && changed[0].uid === 2 && changed[0].flags.has('\\Answered') && !changed[0].flags.has('\\Seen'), 'CHANGEDSINCE', changed);

    // Search, copy, move.
    check(String(await client.search({ header: { subject: 'Nummer 2' }, body: 'Zeile' }, { uid: true })) === '2', 'SEARCH');
    check(String(await client.search({ or: [{ flagged: true }, { keyword: '$Label' }] }, { uid: true })) === '1', 'SEARCH OR');
    const copied = await client.messageCopy('1:2', 'Archive', { uid: true });
    check(copied.uidMap.size === 2, 'COPYUID', copied);
    news = told(watcher, 'expunge', e => e.uid === 2);
    const moved = await client.messageMove('2', 'Archive', { uid: true });
    check(moved.uidMap.get(2) === 3, 'COPYUID of MOVE', moved);
    await news;
    lock.release();

    // Renamed, with what stands below; the selected mailbox closed.
    await watcher.mailboxClose();
    await client.mailboxClose();
    await client.mailboxRename('Grüße & Küsse', 'Später');
    list = await client.list();
    check(list.find(m => m.path === 'Später/日本語') && !list.find(m => m.path === box), 'RENAME', list.map(m => m.path));
    const again = await client.mailboxOpen('Später/日本語');
    check(again.exists === 1 && again.uidNext === 4, 'after RENAME', again);
    await client.mailboxClose();
    await client.mailboxDelete('Später/日本語');
    check(!(await client.list()).find(m => m.path === 'Später/日本語'), 'DELETE');

    // A large mailbox.
    await client.mailboxOpen('Many');
    const all = await gather(client.fetch('1:*', { uid: true, flags: true, envelope: true, bodyStructure: true }));
    check(all.length === args.many && new Set(all.map(m => m.uid)).size === args.many, 'of Many came', all.length);
    check(all[args.many - 1].envelope.subject === 'message number ' + (args.many - 1), all[args.many - 1].envelope);
    const half = (await client.search({ all: true }, { uid: true })).filter(uid => uid % 2);
    check(half.length === Math.ceil(args.many / 2), 'half is', half.length);
    check(await client.messageFlagsAdd(half, ['\\Seen'], { uid: true }), 'STORE of half');
    check((await client.search({ seen: true })).length === half.length, 'seen');
    check(await client.messageDelete(half, { uid: true }), 'delete half');
    check((await client.status('Many', { messages: true })).messages === args.many - half.length, 'STATUS after half was deleted');

    const quota = await client.getQuota();
    check(!quota || quota.path, 'quota', quota);
    await client.mailboxOpen(args.other, { readOnly: true });
    check((await client.fetchOne('1', { envelope: true })).envelope.subject === 'message number 0', 'the shared message');
    await client.noop();
    await client.logout();
    await watcher.logout();
}

main().catch(err => check(false, err.stack, err.responseText || '', err.response || '')).then(() => process.exit(0));
