package sqlite

import "invoicebox-worker/internal/journal/rows"

// A rowCache caches rows of the file, so that a step need not read the rows that the
// step before it wrote. No other process writes them. A row that a transaction changes
// is not found until the commit.
type rowCache struct {
	byTable map[*rows.Table]*tableCache
	changed []changedRow    // of the present transaction
	written map[string]bool // tables that its statements have written to
	any     bool            // they may have written to any
}

// A tableCache has the rows of one table. At the bound the oldest is replaced.
type tableCache struct {
	byKey map[int64]*cachedRow
	ring  []*cachedRow
	next  int // the oldest, once the ring is full
}

type cachedRow struct {
	key int64
	row any // nil for none
}

type changedRow struct {
	table *rows.Table
	key   int64
	row   any // its new value, nil for none
}

// maxCached bounds the cached rows of each table.
const maxCached = 4_000

func newRowCache() *rowCache {
	return &rowCache{byTable: make(map[*rows.Table]*tableCache), written: make(map[string]bool)}
}

// find returns a cached row, nil for none. The caller must not change it.
func (c *rowCache) find(t *rows.Table, key int64) any {
	if m := c.byTable[t]; m != nil {
		if r := m.byKey[key]; r != nil {
			return r.row
		}
	}
	return nil
}

// keep caches a row. Of a wide row it notes only that the cached one is outdated.
func (c *rowCache) keep(t *rows.Table, key int64, row any) {
	if row != nil && t.Wide(row) {
		row = nil
	}
	m := c.byTable[t]
	if m == nil {
		m = &tableCache{byKey: make(map[int64]*cachedRow)}
		c.byTable[t] = m
	}
	if r := m.byKey[key]; r != nil {
		r.row = row
		return
	}
	r := &cachedRow{key, row}
	m.byKey[key] = r
	if len(m.ring) < maxCached {
		m.ring = append(m.ring, r)
		return
	}
	delete(m.byKey, m.ring[m.next].key)
	m.ring[m.next] = r
	m.next = (m.next + 1) % maxCached
}

// change hides a row that was written. Commit caches its new value, nil for a deleted
// row. After a statement has written to the table the value may be outdated, so such a
// row is read again.
func (c *rowCache) change(t *rows.Table, key int64, row any) {
	c.keep(t, key, nil)
	if c.any || c.written[t.Name] {
		row = nil
	}
	c.changed = append(c.changed, changedRow{t, key, row})
}

// commit caches the rows that were written.
func (c *rowCache) commit() {
	for _, r := range c.changed {
		c.keep(r.table, r.key, r.row)
	}
	c.end()
}

// rollback drops the rows that were written: the transaction may have read them again.
func (c *rowCache) rollback() {
	for _, r := range c.changed {
		c.keep(r.table, r.key, nil)
	}
	for name := range c.written {
		c.drop(name)
	}
	if c.any {
		clear(c.byTable)
	}
	c.end()
}

// end clears what belongs to the transaction.
func (c *rowCache) end() {
	clear(c.changed)
	c.changed = c.changed[:0]
	clear(c.written)
	c.any = false
}

// clearTable drops all rows of a table, because a statement may have changed any.
func (c *rowCache) clearTable(name string) {
	for i := range c.changed {
		if c.changed[i].table.Name == name {
			c.changed[i].row = nil
		}
	}
	c.written[name] = true
	c.drop(name)
}

func (c *rowCache) drop(name string) {
	for t := range c.byTable {
		if t.Name == name {
			delete(c.byTable, t)
		}
	}
}

// clear drops all rows, because a statement may have changed any.
func (c *rowCache) clear() {
	for i := range c.changed {
		c.changed[i].row = nil
	}
	c.any = true
	clear(c.byTable)
}
