package manage

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/postern-mail/postern/event"
)

// Events are the last events; event.Log has them.
type Events interface {
	// Search gives entries, the newest first, and whether there are more.
	Search(q event.Query) (found []event.Entry, more bool)
}

// eventTypes are the types of events.
var eventTypes = []string{"Error", "Warning", "Information"}

// getEventLog shows one object an event, the newest first.
func getEventLog(_ context.Context, c *Call) (func(context.Context) error, error) {
	q := event.Query{After: c.Time("After"), Before: c.Time("Before"), Newest: int(min(c.Number("Newest"), 10000))}
	for _, t := range c.List("EntryType").Set {
		i := slices.IndexFunc(eventTypes, func(name string) bool { return matches(t, name) })
		if t == "" || i < 0 {
			return nil, wrong("EntryType", "there is no type %q; the types are Error, Warning and Information", t)
		}
		q.Types = append(q.Types, eventTypes[i])
	}
	for _, text := range c.List("InstanceId").Set {
		id, err := strconv.Atoi(text)
		if err != nil || id <= 0 {
			return nil, wrong("InstanceId", "%q is not the number of an event", text)
		}
		q.IDs = append(q.IDs, id)
	}
	if source := c.Text("Source"); source != "" {
		q.Source = func(s string) bool { return matches(source, s) }
	}
	found, more := c.Events.Search(q)
	for _, e := range found {
		help := ""
		if row := event.Find(e.ID); row != nil {
			help = row.Help
		}
		data := Object{}
		for _, name := range slices.Sorted(maps.Keys(e.Data)) {
			data = append(data, Property{name, e.Data[name]})
		}
		c.Add(Object{
			{"TimeGenerated", moment(e.Time)}, {"EntryType", e.Type()}, {"InstanceId", int64(e.ID)}, {"Source", e.Source},
			{"Message", e.Text}, {"Data", data}, {"Count", int64(e.Count)}, {"Help", help},
		})
	}
	if more {
		c.Note("There are more events; -Newest shows more of them.")
	}
	return nil, nil
}
