package manage

import (
	"context"
	"fmt"
	"strings"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Store is the mail store as Test-Store and Repair-Mailbox use it.
type Store interface {
	// Accounts lists all accounts, ascending.
	Accounts(ctx context.Context) ([]mail.AccountID, error)
	// Verify reads everything of an account and gives each damage as it is found.
	Verify(ctx context.Context, id mail.AccountID, each func(store.Damage) error, progress func(done, all int)) (store.Verified, error)
	// Repair mends what Verify finds, and says what it did.
	Repair(ctx context.Context, id mail.AccountID, progress func(stage store.RepairStage, done, all int)) ([]store.Repair, error)
}

// tested is an account that Test-Store looks at.
type tested struct {
	id   mail.AccountID
	name string // of its mailbox, or its number when the directory knows none
}

// tested gives the accounts that -Identity means, all of the store when it was left out.
func (c *Call) tested(ctx context.Context) ([]tested, error) {
	entries, err := c.entries(ctx)
	if err != nil {
		return nil, err
	}
	var list []tested
	known := map[mail.AccountID]bool{}
	for _, e := range entries {
		if e.Account != 0 && !known[e.Account] {
			list = append(list, tested{e.Account, e.Name})
			known[e.Account] = true
		}
	}
	if c.Text("Identity") != "" || c.Text("After") != "" || len(c.result.Warnings) > 0 {
		return list, nil
	}
	// Mail that no mailbox leads to is looked at too.
	ids, err := c.Store.Accounts(ctx)
	for _, id := range ids {
		if !known[id] {
			list = append(list, tested{id, id.String()})
		}
	}
	return list, err
}

// verdict is one row of Test-Store.
func (t tested) verdict(folder string, uid mail.UID, part string, result Verdict, detail string) Object {
	number := any(nil)
	if uid != 0 {
		number = int64(uid)
	}
	return Object{{"Identity", t.name}, {"Folder", folder}, {"UID", number}, {"Part", part}, {"Result", string(result)}, {"Detail", detail}}
}

// verify looks at one account and gives a row for each damage, or one that says that there
// is none.
func (c *Call) verify(ctx context.Context, t tested, progress func(done, all int), each func(Object) error) (damages int, err error) {
	seen, err := c.Store.Verify(ctx, t.id, func(d store.Damage) error {
		damages++
		return each(t.verdict(d.Mailbox, d.UID, string(d.Part), Fail, d.Detail))
	}, progress)
	if err != nil && mail.KindOf(err) == mail.KindNotFound {
		return damages, each(t.verdict("", 0, "Account", Warn, "The mail store does not know its account."))
	}
	if err == nil && damages == 0 {
		err = each(t.verdict("", 0, "", Pass, fmt.Sprintf("%d messages in %d folders, %d bytes, were read.", seen.Messages, seen.Mailboxes, seen.Bytes)))
	}
	if damages > 0 {
		event.StoreDamaged.Log(ctx, c.Log, "mailbox", t.name, "damages", damages)
	}
	return damages, err
}

// messages counts what each of the accounts has, also of what was expunged and can be brought
// back, for who wants to know how far the reading of it is. What cannot be counted is 0.
func (c *Call) messages(ctx context.Context, list []tested) (each []int, all int) {
	each = make([]int, len(list))
	tell := c.counted("Counting messages")
	for i := 0; c.told != nil && i < len(list) && ctx.Err() == nil; i++ {
		if a, err := c.Folders.Account(ctx, list[i].id); err == nil {
			each[i] = int(a.Usage().Messages + a.Kept().Messages)
			a.Close()
		}
		all += each[i]
		tell(i+1, len(list))
	}
	return each, all
}

// verifyAll looks at one account after the other and gives the rows of verify. It says how
// many it has looked at.
func (c *Call) verifyAll(ctx context.Context, list []tested, each func(Object) error) (looked, damages int, err error) {
	counts, all := c.messages(ctx, list)
	before := 0 // messages of the accounts before
	tell := c.counted("Reading messages")
	for i, t := range list {
		n, err := c.verify(ctx, t, func(done, own int) { tell(before+done, max(all, before+own)) }, each)
		damages += n
		if err != nil {
			return i, damages, err
		}
		before += counts[i]
	}
	return len(list), damages, nil
}

// testStore shows one object a damage, and one for each mailbox without.
func testStore(ctx context.Context, c *Call) (func(context.Context) error, error) {
	list, err := c.tested(ctx)
	if err != nil {
		return nil, err
	}
	looked, damages, err := c.verifyAll(ctx, list, func(o Object) error { c.Add(o); return nil })
	if damages > 0 {
		c.result.ExitCode = 1
		c.Note("Repair-Mailbox mends what can be mended.")
	}
	if ctx.Err() != nil && looked > 0 {
		c.Warn(fmt.Sprintf("It was ended after %d of %d mailboxes.", looked, len(list)))
		return nil, nil
	}
	return nil, err
}

// followStore gives the same as they are found.
func followStore(c *Call) (follow, error) {
	return func(ctx context.Context, ready func() error, each func(Object) error) error {
		list, err := c.tested(ctx)
		if err == nil {
			err = ready()
		}
		if err == nil {
			_, _, err = c.verifyAll(ctx, list, each)
		}
		if ctx.Err() != nil {
			return nil
		}
		return err
	}, nil
}

// repairMailbox shows one object for each thing that was mended or set aside.
func repairMailbox(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	if err := hasMailbox(e); err != nil {
		return nil, err
	}
	damages := 0
	if _, err := c.Store.Verify(ctx, e.Account, func(d store.Damage) error {
		damages++
		c.Change(e.Name, strings.TrimSpace(fmt.Sprintf("%s %s %s", d.Part, d.Mailbox, number(d.UID))), d.Detail, "repaired or set aside")
		return nil
	}, c.counted("Looking for damages")); err != nil {
		return nil, err
	}
	if damages == 0 {
		c.Note("Nothing of " + e.Name + " is damaged.")
		return nil, nil
	}
	return func(ctx context.Context) error {
		done, err := c.Store.Repair(ctx, e.Account, func(stage store.RepairStage, done, all int) { c.counted(string(stage))(done, all) })
		for _, r := range done {
			uid := any(nil)
			if r.UID != 0 {
				uid = int64(r.UID)
			}
			c.Add(Object{{"Identity", e.Name}, {"Folder", r.Mailbox}, {"UID", uid}, {"Part", string(r.Part)}, {"Lost", r.Lost}, {"Detail", r.Detail}})
			if r.Lost {
				c.Warn("Something is lost that only a backup has; the rows say what.")
			}
		}
		return err
	}, nil
}

func number(uid mail.UID) string {
	if uid == 0 {
		return ""
	}
	return fmt.Sprint(uid)
}
