package sqlite

import (
	"invoicebox-worker/internal/journal/rows"
)

// A rowCache caches rows of the file, so that a step need not read the rows that the
// step before it wrote. No other process writes them. A row that a transaction changes
// is removed, and cached again after the commit.
type rowCache struct {
	byTable map[*rows.Table]map[int64]any
	changed []cachedRow     // of the present transaction
	written map[string]bool // tables that its statements have written to
	any     bool            // they may have written to any
}

type cachedRow struct {
	table *rows.Table
	key   int64
	row   any
}

// maxCached bounds the cached rows of each table.
const maxCached = 4_000

func newRowCache() *rowCache {
	return &rowCache{byTable: make(map[*rows.Table]map[int64]any), written: make(map[string]bool)}
}

// find returns a cached row, nil for none. The caller must not change it.
func (c *rowCache) find(t *rows.Table, key int64) any { return c.byTable[t][key] }

// keep caches a row. At the bound it replaces any other.
func (c *rowCache) keep(t *rows.Table, key int64, row any) {
	m := c.byTable[t]
	if m == nil {
		m = make(map[int64]any)
		c.byTable[t] = m
	}
	if len(m) >= maxCached {
		for k := range m {
			delete(m, k)
			break
		}
	}
	m[key] = row
}

// change removes a row that was written. Commit caches its new value, which is a copy
// or, for a deleted row, nil. After a statement has written to the table the copy may be
// outdated, so such a row is read again.
func (c *rowCache) change(t *rows.Table, key int64, row any) {
	delete(c.byTable[t], key)
	if c.any || c.written[t.Name] {
		row = nil
	}
	c.changed = append(c.changed, cachedRow{t, key, row})
}

// commit caches the rows that were written.
func (c *rowCache) commit() {
	for _, r := range c.changed {
		delete(c.byTable[r.table], r.key)
		if r.row != nil {
			c.keep(r.table, r.key, r.row)
		}
	}
	c.end()
}

// rollback drops the rows that were written: the transaction may have read them again.
func (c *rowCache) rollback() {
	for _, r := range c.changed {
		delete(c.byTable[r.table], r.key)
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
