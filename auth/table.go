package auth

import "container/list"

// table is a map with a bound: the longest unused entry goes when it is full. Its
// owner locks it.
type table[K comparable, V any] struct {
	max   int
	rows  map[K]*list.Element
	order list.List // of row[K, V], the latest used in front
}

type row[K comparable, V any] struct {
	key   K
	value V
}

func newTable[K comparable, V any](max int) *table[K, V] {
	return &table[K, V]{max: max, rows: map[K]*list.Element{}}
}

func (t *table[K, V]) get(key K) (value V, ok bool) {
	e, ok := t.rows[key]
	if !ok {
		return value, false
	}
	t.order.MoveToFront(e)
	return e.Value.(*row[K, V]).value, true
}

func (t *table[K, V]) put(key K, value V) {
	if e, ok := t.rows[key]; ok {
		e.Value.(*row[K, V]).value = value
		t.order.MoveToFront(e)
		return
	}
	for len(t.rows) >= t.max && t.order.Len() > 0 {
		last := t.order.Back()
		delete(t.rows, last.Value.(*row[K, V]).key)
		t.order.Remove(last)
	}
	t.rows[key] = t.order.PushFront(&row[K, V]{key, value})
}

// remove tells whether key was there.
func (t *table[K, V]) remove(key K) bool {
	e, ok := t.rows[key]
	if ok {
		delete(t.rows, key)
		t.order.Remove(e)
	}
	return ok
}

// each calls f with every row, the latest used first.
func (t *table[K, V]) each(f func(key K, value V)) {
	for e := t.order.Front(); e != nil; e = e.Next() {
		r := e.Value.(*row[K, V])
		f(r.key, r.value)
	}
}
